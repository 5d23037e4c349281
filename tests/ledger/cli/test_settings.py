from __future__ import annotations

import stat

import pytest

from ledger.cli import settings
from ledger.errors import ConfigurationError, UsageError


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path):
    (tmp_path / "deed.toml").write_text('network = "from-file"\n')
    environ = {"DEED_NETWORK": "from-env"}

    def network(flags, env):
        found = settings.load(flags=flags, environ=env, cwd=tmp_path)
        return found.get("network"), found.source("network")

    assert network({"network": "from-flag"}, environ) == ("from-flag", "--network")
    assert network({}, environ) == ("from-env", "DEED_NETWORK")
    assert network({}, {}) == ("from-file", str(tmp_path / "deed.toml"))
    (tmp_path / "deed.toml").unlink()
    assert network({}, {}) == (None, "default")


def test_the_file_is_found_in_a_folder_above(tmp_path):
    (tmp_path / "deed.toml").write_text('wallet = "alice"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert settings.load(environ={}, cwd=below).get("wallet") == "alice"


def test_the_nearest_file_counts(tmp_path):
    (tmp_path / "deed.toml").write_text('wallet = "far"\n')
    below = tmp_path / "a"
    below.mkdir()
    (below / "deed.toml").write_text('wallet = "near"\n')
    assert settings.load(environ={}, cwd=below).get("wallet") == "near"


def test_an_empty_variable_counts_as_unset(tmp_path):
    found = settings.load(environ={"DEED_WALLET": ""}, cwd=tmp_path)
    assert found.get("wallet") is None


@pytest.mark.parametrize(
    "text",
    [
        "wallet = ",
        "walet = 'typo'",
        "wallet = 7",
        "wallet = ''",
        "role = 'king'",
        "wallet_password_file = 'x'",
        "debug = '1'",
        "\xff",
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "deed.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        settings.load(environ={}, cwd=tmp_path)
    assert "deed.toml" in caught.value.message
    assert caught.value.hint


def test_storing_keeps_comments_and_other_settings(tmp_path):
    path = tmp_path / "deed.toml"
    path.write_text('# ours\nrole = "holder"  # for now\n')
    found = settings.load(environ={}, cwd=tmp_path)
    settings.store(found, {"network": "sepolia"})
    assert path.read_text() == '# ours\nrole = "holder"  # for now\nnetwork = "sepolia"\n'


def test_a_private_file_is_private_and_leaves_no_temporary_one(tmp_path):
    path = tmp_path / "folder" / "secret.toml"
    settings.write_text(path, "x = 1\n", private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["secret.toml"]


def test_people_see_the_host_of_a_url_and_nothing_that_may_be_a_key():
    url = "https://user:hunter2@rpc.example:8443/v2/SECRETKEY?token=SECRETKEY"
    assert settings.url_for_people(url) == "https://rpc.example:8443/…"
    assert settings.url_for_people("http://127.0.0.1:8545") == "http://127.0.0.1:8545"


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "a.example", "http://a:99999999"])
def test_what_is_no_url_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as caught:
        settings.checked_url(url, what="an RPC endpoint")
    assert not url or url not in caught.value.message
