"""Traces of requests for OpenTelemetry, where the settings ask for them (docs/adr/0047).

The extra ``otel`` is loaded by `open_traces` alone, and by nothing where they do not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from api.settings import Settings
from ledger.errors import ConfigurationError, ToolMissing
from ledger.remote.web import WebAddress

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

    from api.tracing import Traces

FASTAPI_OWN: Final[TelemetryConfig] = {
    "auto_configure": False,
    "tracing": False,
    "metrics": False,
    "logs": False,
}
"""Newer releases of FastAPI export by themselves when the environment says so: whole queries, and
the messages of exceptions. What this service tells of requests is told by `api.tracing` alone."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN: Final = "http/protobuf"


def open_traces(settings: Settings) -> Traces | None:
    """What makes and exports spans; None where the settings ask for none.

    Where to, with which headers and which share of them is said by the standard ``OTEL_*``
    variables.

    Raises:
        ToolMissing: the extra is not installed.
        ConfigurationError: an ``OTEL_*`` variable cannot be meant; its value is not repeated.
    """
    if not settings.telemetry:
        return None
    try:
        from api import tracing
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ToolMissing(
            "DEED_API_TELEMETRY asks for traces, and OpenTelemetry is not installed",
            hint="pip install 'modeldeed[otel]', or leave DEED_API_TELEMETRY empty",
        ) from None
    if settings.telemetry == "otlp":
        _check_environment()
    try:
        return tracing.Traces.open(settings)
    except ValueError as error:
        # The SDK's own, of its OTEL_BSP_* numbers.
        raise ConfigurationError(
            f"an OTEL_* variable cannot be meant: {error}",
            hint="https://opentelemetry.io/docs/languages/sdk-configuration/ describes them",
        ) from None


def _check_environment() -> None:
    """Say at the start what would otherwise fail with every batch, in the log alone."""
    name, value = _first(_PROTOCOLS)
    if value and value != _SPOKEN:
        raise ConfigurationError(
            f"{name}: this service speaks {_SPOKEN} and nothing else",
            hint="collectors take it at port 4318; 4317 is gRPC's",
        )
    name, value = _first(_ENDPOINTS)
    address = WebAddress.parse(value)
    if value and (address is None or address.port == 0):
        raise ConfigurationError(
            f"{name}: not an http or https URL", hint="such as http://127.0.0.1:4318"
        )


def _first(names: tuple[str, ...]) -> tuple[str, str]:
    """The first of these variables that is set, as the SDK reads them; the last name without."""
    for name in names:
        if value := os.environ.get(name, ""):
            return name, value
    return names[-1], ""
