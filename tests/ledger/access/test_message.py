"""EIP-4361 messages: read as the EIP's grammar says, to the last byte, and no other way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.access.message import SignInMessage, parse_message, unix_time
from ledger.access.sign_in import Place, check_sign_in
from ledger.eip712 import recover
from ledger.errors import SignInRefused
from ledger.ids import Address

VECTORS = Path(__file__).parents[2] / "vectors" / "sign-in"
POSITIVE = json.loads((VECTORS / "parsing_positive.json").read_text())
NEGATIVE = json.loads((VECTORS / "parsing_negative.json").read_text())
SIGNED = json.loads((VECTORS / "verification_positive.json").read_text())
NAMES = {
    "domain": "domain", "address": "address", "statement": "statement", "uri": "uri",
    "nonce": "nonce", "issuedAt": "issued_at", "expirationTime": "expiration_time",
    "notBefore": "not_before", "requestId": "request_id", "scheme": "scheme",
}  # fmt: skip
KEY = Account.from_key(b"\x07" * 32)
NOW = 1_800_000_000.0
PLACE = Place("https://deed.example", 31337)


def message(**changed):
    base = SignInMessage(
        domain="deed.example",
        address=KEY.address,
        uri="https://deed.example/v1/auth/sign-in",
        chain_id="31337",
        nonce="abcdEFGH12345678",
        issued_at="2027-01-15T08:00:00Z",
        statement="Sign in to modeldeed.",
    )
    return replace(base, **changed)


def sign(text, key=KEY):
    return bytes(key.sign_message(encode_defunct(text=text)).signature)


def refused(text, signature=None, **options):
    with pytest.raises(SignInRefused) as caught:
        check_sign_in(text, signature or sign(text), PLACE, now=NOW, **options)
    return caught.value.step


@pytest.mark.parametrize("name", POSITIVE)
def test_messages_that_another_implementation_reads_are_taken_apart_alike(name):
    wanted = POSITIVE[name]
    found = parse_message(wanted["message"])
    assert str(found) == wanted["message"]
    told = wanted["fields"]
    for theirs, ours in NAMES.items():
        assert (getattr(found, ours) or None) == (told.get(theirs) or None), theirs
    assert int(found.chain_id) == told["chainId"]
    assert list(found.resources or ()) == told.get("resources", [])


@pytest.mark.parametrize("name", NEGATIVE)
def test_messages_that_another_implementation_refuses_are_refused(name):
    with pytest.raises(SignInRefused) as caught:
        parse_message(NEGATIVE[name])
    assert caught.value.step == 1


@pytest.mark.parametrize("name", SIGNED)
def test_signatures_of_other_wallets_are_those_of_the_accounts_they_name(name):
    told = SIGNED[name]
    made = SignInMessage(
        chain_id=str(told["chainId"]),
        **{ours: told[theirs] for theirs, ours in NAMES.items() if theirs in told},
    )
    found = recover(made.digest(), bytes.fromhex(told["signature"][2:]))
    assert found == Address.parse(told["address"])


def test_a_message_signed_by_a_wallet_is_a_sign_in():
    text = str(message())
    assert check_sign_in(text, sign(text), PLACE, now=NOW) == message()


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({"domain": "deed.example.evil"}, 2),
        ({"domain": "evil@deed.example"}, 2),
        ({"domain": "DEED.example"}, 2),
        ({"domain": "deed.example:443"}, 2),
        ({"scheme": "http"}, 2),
        ({"uri": "https://evil.example/"}, 3),
        ({"uri": "https://deed.example.evil/"}, 3),
        ({"uri": "https://deed.example@evil.example/"}, 3),
        ({"uri": "http://deed.example/v1/auth/sign-in"}, 3),
        ({"chain_id": "1"}, 4),
        ({"chain_id": "031337"}, 4),
        ({"issued_at": "2027-01-15T08:01:01Z"}, 5),
        ({"issued_at": "2027-01-15T07:53:59Z"}, 5),
        ({"issued_at": "2027-01-15T10:00:00Z"}, 5),
        ({"expiration_time": "2027-01-15T08:00:00Z"}, 5),
        ({"expiration_time": "2026-01-15T08:00:00Z"}, 5),
        ({"not_before": "2027-01-15T08:00:00.5Z"}, 5),
        ({"address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, 6),
    ],
    ids=str,
)
def test_a_well_signed_message_for_another_place_or_time_is_refused_with_its_step(changed, step):
    assert refused(str(message(**changed))) == step


@pytest.mark.parametrize(
    "changed",
    [
        {"scheme": "https"},
        {"uri": "https://deed.example"},
        {"statement": None},
        {"issued_at": "2027-01-15T09:00:30.999999999+01:00"},
        {"expiration_time": "2027-01-15T08:00:01Z", "not_before": "2027-01-15T08:00:00Z"},
        {"request_id": ""},
        {"resources": ()},
        {"resources": ("https://deed.example/terms", "ipfs://Qme7ss3ARVgxv6rXqVPiik")},
    ],
    ids=str,
)
def test_what_the_grammar_leaves_open_is_taken(changed):
    text = str(message(**changed))
    assert check_sign_in(text, sign(text), PLACE, now=NOW) == message(**changed)


def test_a_signature_is_not_bent_into_another_one_that_counts():
    text = str(message())
    good = sign(text)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = order - int.from_bytes(good[32:64], "big")
    bent = good[:32] + high.to_bytes(32, "big") + bytes([55 - good[64]])
    assert refused(text, bent) == 6
    for bad in (good[:64], good + b"\0", bytes(65), b"\xff" * 65, good[:64] + b"\x05"):
        assert refused(text, bad) == 6


def test_a_contract_wallet_is_asked_only_where_no_key_of_the_account_signed():
    asked = []

    def wallet(account, digest, signature):
        asked.append((account, digest, signature))
        return signature == b"\x01" * 70

    text = str(message())
    check_sign_in(text, sign(text), PLACE, now=NOW, ask_wallet=wallet)
    assert asked == []
    check_sign_in(text, b"\x01" * 70, PLACE, now=NOW, ask_wallet=wallet)
    assert asked == [(Address.parse(KEY.address), message().digest(), b"\x01" * 70)]
    assert refused(text, b"\x02" * 70, ask_wallet=wallet) == 6


TIMES = st.datetimes().map(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"))
URIS = st.from_regex(r"[a-z]{1,8}:[A-Za-z0-9/?#@!$&'()*+,;=._~-]{1,20}", fullmatch=True)


@given(
    domain=st.from_regex(r"[a-z0-9.-]{1,20}(:[0-9]{1,5})?", fullmatch=True),
    raw=st.binary(min_size=20, max_size=20),
    uri=URIS,
    chain_id=st.integers(0, 2**63 - 1).map(str),
    nonce=st.from_regex(r"[0-9A-Za-z]{8,40}", fullmatch=True),
    issued_at=TIMES,
    statement=st.none() | st.from_regex(r"[A-Za-z0-9 .,:!()'=]{1,40}", fullmatch=True),
    expiration_time=st.none() | TIMES,
    not_before=st.none() | TIMES,
    request_id=st.none() | st.from_regex(r"[A-Za-z0-9._~:@-]{0,10}", fullmatch=True),
    resources=st.none() | st.lists(URIS, max_size=4).map(tuple),
)
def test_every_message_is_read_back_as_it_was_written(raw, **fields):
    made = SignInMessage(address=str(Address(raw)), **fields)
    assert parse_message(str(made)) == made


GOOD = str(
    message(
        expiration_time="2027-01-15T09:00:00Z", not_before="2027-01-15T07:00:00Z", request_id="r1",
        resources=("https://deed.example/terms",),
    )
)  # fmt: skip


@settings(max_examples=400)
@given(
    place=st.integers(0, len(GOOD)),
    cut=st.integers(0, 3),
    put=st.text(max_size=3) | st.sampled_from(["\r\n", "\n", "\r", "\0", " ", "\t", "é", "\u2028"]),
)
def test_whatever_is_changed_is_refused_or_read_as_what_it_says(place, cut, put):
    changed = GOOD[:place] + put + GOOD[place + cut :]
    try:
        found = parse_message(changed)
    except SignInRefused:
        return
    assert str(found) == changed  # one text, one meaning
    assert (found == parse_message(GOOD)) == (changed == GOOD)


@pytest.mark.parametrize(
    "bad",
    [
        GOOD + "\n",
        GOOD + " ",
        "\n" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(KEY.address, KEY.address.lower()),
        GOOD.replace(KEY.address, KEY.address.upper().replace("X", "x")),
        GOOD.replace("Sign in to modeldeed.", "Sign in\nto modeldeed."),
        GOOD.replace("Sign in to modeldeed.", 'Sign "in".'),
        GOOD.replace("Version: 1", "Version: 01"),
        GOOD.replace("Version: 1\n", "Version: 1\nVersion: 1\n"),
        GOOD.replace("Chain ID: 31337", "Chain ID: +31337"),
        GOOD.replace("Chain ID: 31337", "Chain ID: ٣١٣٣٧"),
        GOOD.replace("Nonce: ", "nonce: "),
        GOOD.replace("2027-01-15T08:00:00Z", "2027-02-30T08:00:00Z"),
        GOOD.replace("2027-01-15T08:00:00Z", "2027-01-15T08:00:60Z"),
        GOOD.replace("2027-01-15T08:00:00Z", "2027-01-15 08:00:00Z"),
        GOOD.replace("2027-01-15T08:00:00Z", "2027-01-15T08:00:00+24:00"),
        GOOD.replace("Request ID: r1", "Request ID: r 1"),
        GOOD + "\n-  https://deed.example",
        GOOD + "\n- https://deed.example" * 20,
        GOOD.replace("Sign in to modeldeed.", "x" * 5000),
        "",
        "\n" * 4000,
    ],
    ids=range(23),
)
def test_hostile_texts_are_refused_by_the_grammar(bad):
    with pytest.raises(SignInRefused) as caught:
        parse_message(bad)
    assert caught.value.step == 1
    assert caught.value.hint


def test_times_are_those_that_exist():
    assert unix_time("2027-01-15T08:00:00Z") == NOW
    assert unix_time("2027-01-15T08:00:00.25+00:00") == NOW + 0.25
    assert unix_time("2027-01-15T10:00:00+02:00") == NOW
    for bad in ("2027-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2027-01-15T08:00:00"):
        with pytest.raises(SignInRefused):
            unix_time(bad)
