"""Asking a time-stamping authority for a token: RFC 3161 section 2.4 over HTTP (section 3.4)."""

from __future__ import annotations

import secrets

import httpx

from ledger.errors import StoreUnavailable, TimestampInvalid, UsageError
from ledger.evidence import der
from ledger.evidence.timestamps import MAX_TOKEN_BYTES, Token
from ledger.ids import Digest
from ledger.remote.bodies import authorities

TIMEOUT_SECONDS = 20.0
_MAX_ANSWER = MAX_TOKEN_BYTES + 1024
_SHA256 = bytes.fromhex("300d06096086480165030402010500")  # AlgorithmIdentifier with NULL


def request_token(url: str, imprint: Digest, *, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """The bare token with which the authority at `url` dates `imprint` now.

    Its nonce and imprint are those asked for; the rest is for `verify_token`.

    Raises:
        UsageError: not an HTTP address.
        StoreUnavailable: no answer, or one that is too long.
        TimestampInvalid: the authority refuses, or answers something else.
    """
    nonce = secrets.randbits(63) | 1 << 62
    body = _wrapped(
        0x30,
        b"\x02\x01\x01",
        _wrapped(0x30, _SHA256, _wrapped(0x04, imprint.raw)),
        _wrapped(0x02, nonce.to_bytes(8, "big")),
        b"\x01\x01\xff",
    )
    host = httpx.URL(url).host if url.startswith(("http://", "https://")) else ""
    if not host:
        raise UsageError(
            "a time-stamping authority is named by its HTTP address", hint="give https://…"
        )
    token = _token(_ask(url, host, body, timeout))
    read = Token.parse(token)
    if read.imprint != imprint or read.nonce != nonce:
        raise TimestampInvalid(f"{host} answered another request than the one made")
    return token


def _ask(url: str, host: str, body: bytes, timeout: float) -> bytes:
    headers = {"Content-Type": "application/timestamp-query", "User-Agent": "modeldeed"}
    try:
        with httpx.stream(
            "POST", url, content=body, headers=headers, timeout=timeout, verify=authorities()
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise StoreUnavailable(f"{host} answered HTTP {answer.status_code}")
            data = b""
            for part in answer.iter_bytes():
                data += part
                if len(data) > _MAX_ANSWER:
                    raise StoreUnavailable(f"{host} answered more than a token is long")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StoreUnavailable(
            f"the time-stamping authority {host} does not answer: {type(error).__name__}",
            hint="run it again later, or give another with --tsa",
        ) from None
    return data


def _token(answer: bytes) -> bytes:
    """The token in a TimeStampResp."""
    fields = der.read(answer).fields()
    status = der.integer(fields.take(der.SEQUENCE).fields().take(der.INTEGER))
    if status not in {0, 1}:  # granted, granted with modifications
        raise TimestampInvalid(f"the authority refused to stamp (status {status})")
    token = fields.take(der.SEQUENCE).raw
    fields.end()
    return token


def _wrapped(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    assert len(content) < 0x80  # a request is short
    return bytes([tag, len(content)]) + content
