from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.cli.commands import ENTRIES

VERBS = (
    "create", "import", "list", "use", "add", "show", "new", "check", "issue", "renew", "suspend",
    "revoke", "grant", "accept", "init", "collect", "verify", "run", "status", "rebuild", "deploy",
)  # fmt: skip
ODD = (
    "", "-", "--", "--json", "-1", "0", "7.1", "4294967296.1", "1" * 400, "0x", "0x" + "g" * 64,
    "0x" + "11" * 32, "../..", "/", "\x1b[2J", "é", "\udcff", "--network", "moon", "--to",
    "holder", "--until", "+1y", "+1y+1y", "9" * 30 + "y", "--terms", "t.toml", "--role", "runtime",
    "--rpc", "http://[", "http://127.0.0.1:1", "--deployment", "file", "--wallet", "--as", "x y",
    "file", "folder", "--help", "--wat",
)  # fmt: skip


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.sampled_from([e.name for e in ENTRIES if e.name not in {"up", "demo"}]),
    st.lists(st.sampled_from(VERBS), max_size=1),
    st.lists(st.sampled_from(ODD), max_size=5),
)
def test_no_words_at_all_make_a_bug_or_a_trace(deed, command, verb, odd):
    (deed.cwd / "file").write_bytes(b"\x00\xff{")
    (deed.cwd / "folder").mkdir(exist_ok=True)
    ran = deed(command, *verb, *odd)
    assert ran.code in {0, 1, 2, 3}, (command, verb, odd, ran.err)
    assert "\x1b" not in ran.out + ran.err
    if ran.code:
        assert ran.out or "error: " in ran.err or "Usage: " in ran.err
