"""What is taken for this machine, and what only looks like it."""

from urllib.parse import urlsplit

import pytest

from ledger.loopback import is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "LocalHost",
        "127.0.0.1", "127.0.0.2", "127.255.255.255",
        "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "[::ffff:7f00:2]",
    ],
)  # fmt: skip
def test_this_machine_is_told_by_its_look(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        # what another resolver may read otherwise
        "localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0177.0.0.1",
        "127.0.0.01", "127.0.0.1%lo", "::1%lo", "[::1%1]", "localhost%00", "localhost:80",
        "127.0.0.1:8545", "[::1]:80", " localhost", "127.0.0.1\n", "loca\u017fhost",
        "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
        # what is another host
        "localhost.example", "127.0.0.1.example", "example", "10.0.0.1", "128.0.0.1", "126.0.0.1",
        "0.0.0.0", "::", "::2", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:128.0.0.1", "fe80::1",
        # what is no host
        "", "[]", "[", "[127.0.0.1]", "[localhost]", "[::1", "::1]", "[[::1]]",
    ],
)  # fmt: skip
def test_no_other_spelling_is_taken_for_it(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://LOCALHOST:8545/key", True),
        ("http://[::1]:8545", True),
        ("http://127.0.0.2", True),
        ("http://localhost.:8545", False),
        ("http://127.0.0.1@evil.example", False),
        ("http://evil.example#@127.0.0.1", False),
    ],
)
def test_a_url_is_here_by_the_host_that_is_connected_to(url, here):
    assert is_loopback(urlsplit(url).hostname or "") is here
