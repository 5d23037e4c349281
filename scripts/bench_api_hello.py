"""The yardsticks of ``bench.py api``: what others run, by uvicorn as it comes.

``hello`` is the smallest FastAPI service, ``bare`` the same words without any framework: what the
server itself costs. Neither has anything of ours around it, and neither logs its requests.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from fastapi import FastAPI

hello = FastAPI()


@hello.get("/hello")
async def say() -> dict[str, str]:
    """Say hello."""
    return {"hello": "world"}


async def bare(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Say it to whatever is asked."""
    del scope, receive
    body = b'{"hello":"world"}'
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        {"hello": hello, "bare": bare}[sys.argv[1]],
        port=int(sys.argv[2]),
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
