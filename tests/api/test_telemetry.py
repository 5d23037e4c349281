"""Whether traces are made at all: by the settings, and by what is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.settings import Settings
from api.telemetry import open_traces
from ledger.errors import ConfigurationError

ALONE = """
import sys
from pathlib import Path
from pydantic import SecretStr
from api.app import create_app
from api.settings import Settings
from ledger.errors import ToolMissing

def settings(telemetry):
    return Settings(deployment=Path("d"), database_url=SecretStr("x"), telemetry=telemetry)

front = create_app(settings(""))
extra = ("opentelemetry.sdk", "opentelemetry.exporter")
loaded = [name for name in sys.modules if name.startswith(extra)]
assert not loaded, loaded
assert "api.tracing" not in sys.modules
assert not [each for each in front._app.user_middleware if each.cls.__name__ == "Traced"]
# As where the extra is not installed.
sys.modules["opentelemetry.sdk"] = None
try:
    create_app(settings("otlp"))
except ToolMissing as error:
    print(error.hint)
"""


def test_without_traces_nothing_of_the_extra_is_loaded_and_with_them_it_is_asked_for():
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=root, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "pip install 'modeldeed[otel]'" in ran.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://:4318/hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::hunter2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
def test_what_cannot_be_meant_is_told_at_the_start_and_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    given = Settings(deployment=Path("d"), database_url=SecretStr("x"), telemetry="otlp")
    with pytest.raises(ConfigurationError) as refused:
        open_traces(given)
    assert "OTEL_" in refused.value.message
    assert refused.value.hint
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_there_are_two_kinds_of_telemetry():
    for wrong in ("jaeger", "otlp\n", "OTLP"):
        with pytest.raises(ValueError, match="telemetry"):
            Settings(deployment=Path("d"), database_url=SecretStr("x"), telemetry=wrong)
