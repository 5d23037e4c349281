"""A text is a web URL, or it is none: whoever wrote it, nothing else comes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.client import BrokerClient
from ledger.client import Client
from ledger.errors import UsageError
from ledger.remote.web import WebAddress


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://Deed.Example/path?key=1", "deed.example"),
        ("http://user:secret@h:8545/KEY", "h:8545"),
        ("http://[::1]:80/", "::1:80"),
    ],
)
def test_of_a_web_url_host_and_port_are_shown(url, shown):
    found = WebAddress.parse(url)
    assert found is not None
    assert found.shown == shown


NONE = (
    "", "h", "//h", "ftp://h", "file:///x", "http://", "http:///path", "https://:80", "http://[",
    "http://[::1", "http://[x]/", "http://h:x", "http://h:99999", "http://h:-1",
)  # fmt: skip


@pytest.mark.parametrize("url", NONE)
def test_what_is_none_is_refused_in_words_by_all_that_connect(url):
    assert WebAddress.parse(url) is None
    for connects in (Client, BrokerClient):
        with pytest.raises(UsageError, match="http://"):
            connects(url)


@given(st.text(max_size=40) | st.text(max_size=40).map(lambda tail: f"http://{tail}"))
def test_no_text_makes_reading_fail(text):
    found = WebAddress.parse(text)
    assert found is None or found.host
