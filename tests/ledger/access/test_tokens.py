"""Keys: what scanners find, what a slip of the pen is told, and what is kept."""

from __future__ import annotations

import hashlib
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.access.tokens import PATTERN, new_token, parse_token
from ledger.errors import NotAuthenticated

EXAMPLE = "deed_live_Ab3dE5fG7h_" + "0" * 42 + "1"


def test_a_new_key_has_the_form_that_the_specification_names_and_reads_back():
    for kind in ("live", "session"):
        token = new_token(kind)
        assert re.fullmatch(rf"deed_{kind}_[0-9A-Za-z]{{10}}_[0-9A-Za-z]{{49}}", token.text)
        assert parse_token(token.text) == token


def test_the_checksum_is_crc_32_in_six_digits_of_base_62():
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = new_token("live").text
    value = 0
    for digit in text[-6:]:
        value = value * 62 + digits.index(digit)
    assert value == zlib.crc32(text[:-6].encode())


def test_a_scanner_finds_a_leaked_key_in_a_log_line():
    token = new_token("live")
    found = PATTERN.search(f'curl -H "authorization: Bearer {token.text}" http://x')
    assert found is not None
    assert found[0] == token.text


def test_the_hash_at_rest_is_one_sha_256_over_tag_and_text():
    token = new_token("live")
    assert token.hash() == hashlib.sha256(b"modeldeed/api-key/1\0" + token.text.encode()).digest()
    session = new_token("session")
    wanted = hashlib.sha256(b"modeldeed/api-session/1\0" + session.text.encode()).digest()
    assert session.hash() == wanted


def test_no_repr_shows_what_opens():
    token = new_token("live")
    assert token.text[-49:] not in repr(token)
    assert token.id in repr(token)


@given(st.integers(0, 69), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl_ -"))
def test_one_changed_character_is_noticed_without_the_database(place, other):
    text = new_token("live").text
    changed = text[:place] + other + text[place + 1 :]
    if changed == text:
        return
    with pytest.raises(NotAuthenticated) as caught:
        parse_token(changed)
    assert changed[-49:] not in caught.value.message + caught.value.hint


@given(st.text(max_size=120))
def test_whatever_else_is_sent_is_refused_in_the_same_words(text):
    with pytest.raises(NotAuthenticated):
        parse_token(text)


@pytest.mark.parametrize("bad", ["{}\n", " {}", "{}{}", "deed_live_{}"])
def test_nothing_stands_before_or_after_a_key(bad):
    with pytest.raises(NotAuthenticated):
        parse_token(bad.replace("{}", new_token("live").text))
