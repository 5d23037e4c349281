"""Replies to a JSON-RPC batch with their results left as JSON text, for readers on a hot path.

The envelope is read and checked here: every id once, a result or an error. What is inside a result
is left to the reader's own typed decoder, which is several times faster than building dicts and
lists to look at each field once. Needs msgspec, which the light base does not have.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.chain.endpoint import Endpoint
from ledger.errors import ChainUnavailable

_ABSENT = msgspec.Raw()


class _Reply(msgspec.Struct, gc=False):
    id: int
    result: msgspec.Raw = _ABSENT
    error: dict[str, Any] | None = None


_BATCH = msgspec.json.Decoder(list[_Reply])
_ONE = msgspec.json.Decoder(_Reply)


def exchange_undecoded(endpoint: Endpoint, payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several read requests in one; reply objects in order, ``result`` being `msgspec.Raw`.

    Raises:
        ChainUnavailable: as `Endpoint.post`, or a reply is malformed, missing, doubled or foreign.
    """
    answer = endpoint.post(payload, retry=True)
    try:
        # An endpoint without batches answers one error object.
        if answer[:64].lstrip()[:1] == b"{":
            replies = endpoint.one_by_one(
                payload, lambda each: _ONE.decode(endpoint.post(each, retry=True))
            )
        else:
            replies = _BATCH.decode(answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(endpoint, f"sent a reply that cannot be read: {str(error)[:80]}") from None
    by_id = {reply.id: reply for reply in replies}
    if len(by_id) != len(replies) or by_id.keys() != {each["id"] for each in payload}:
        raise _malformed(endpoint, "left out part of a batch")
    found: list[dict[str, Any]] = []
    for each in payload:
        reply = by_id[each["id"]]
        if reply.error is not None:
            found.append({"error": reply.error})
        elif memoryview(reply.result).nbytes:
            found.append({"result": reply.result})
        else:
            raise _malformed(endpoint, "sent something that is not a JSON-RPC reply")
    return found


def _malformed(endpoint: Endpoint, why: str) -> ChainUnavailable:
    return ChainUnavailable(f"the RPC endpoint {endpoint.host} {why}", fault="malformed")
