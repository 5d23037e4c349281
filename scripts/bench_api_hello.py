"""The yardstick of ``bench.py api``: the smallest FastAPI service, served as ours is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from fastapi import FastAPI

from api.__main__ import http_config

app = FastAPI()


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Say hello."""
    return {"hello": "world"}


if __name__ == "__main__":
    uvicorn.Server(http_config(app, host="127.0.0.1", port=int(sys.argv[1]))).run()
