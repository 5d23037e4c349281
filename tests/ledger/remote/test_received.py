"""A receiver takes what was signed with its secret, now, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest

from ledger.errors import FormatError, SignatureInvalid, UsageError
from ledger.remote.posting import signed_headers
from ledger.remote.received import TOLERANCE, verify_message

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_800_000_000
BODY = b'{"type":"event.applied","data":{}}'


def headers(*keys: bytes, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return signed_headers(keys or (KEY,), "msg_1", at, body)


@pytest.mark.parametrize("late", [0, TOLERANCE, -TOLERANCE])
@pytest.mark.parametrize("keys", [(KEY,), (bytes(32), KEY), (KEY, bytes(32))])
def test_what_was_signed_is_taken_with_one_or_several_signatures(keys, late):
    told = verify_message(SECRET, headers(*keys), BODY, now=NOW + late)
    assert told == json.loads(BODY)
    shouted = {name.upper(): value for name, value in headers(*keys).items()}
    assert verify_message(SECRET, shouted, BODY, now=NOW) == told


def test_the_specifications_example_is_taken():
    told = verify_message(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
        now=1614265330,
    )
    assert told == {"test": 2432232314}


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"webhook-timestamp": str(NOW - TOLERANCE - 1)}, 2),
        ({"webhook-timestamp": str(NOW + TOLERANCE + 1)}, 2),
        ({"webhook-timestamp": str(NOW) + ".0"}, 2),
        ({"webhook-timestamp": ""}, 2),
        ({"webhook-timestamp": f"0{NOW}"}, 2),
        ({"webhook-timestamp": "9" * 5000}, 2),
        ({"webhook-timestamp": str(NOW + 1)}, 4),
        ({"webhook-id": "msg_2"}, 4),
        ({"webhook-id": ""}, 4),
        ({"webhook-signature": ""}, 4),
        ({"webhook-signature": "v1,"}, 4),
        ({"webhook-signature": "v1a," + "A" * 44}, 4),
        ({"webhook-signature": headers()["webhook-signature"].replace("v1,", "v2,")}, 4),
        ({"webhook-signature": headers(bytes(32))["webhook-signature"]}, 4),
    ],
)
def test_one_thing_that_is_wrong_is_refused_at_its_step(change, step):
    with pytest.raises(SignatureInvalid) as refused:
        verify_message(SECRET, headers() | change, BODY, now=NOW)
    assert refused.value.step == step


def test_another_body_secret_or_key_is_refused():
    with pytest.raises(SignatureInvalid):
        verify_message(SECRET, headers(), BODY + b" ", now=NOW)
    for secret in ("", "MfKQ", SECRET.removeprefix("whsec_"), "whsec_AAAA", "whsec_%%%%" * 9):
        with pytest.raises(UsageError):
            verify_message(secret, headers(), BODY, now=NOW)


def test_a_signed_body_that_is_no_json_is_said_so():
    with pytest.raises(FormatError):
        verify_message(SECRET, headers(body=b"{"), b"{", now=NOW)
