"""A real Chromium without windows, driven over its debugging pipe: no library, no open port.

The protocol is Chromium's own (DevTools): JSON, each message ended by a zero byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from get_chromium import find, libraries

SECONDS = 30.0


class Chromium:
    """One tab; `events` are what the browser told besides its answers."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def open(self, url: str) -> None:
        """Make the tab and load a page in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.load(url)

    def load(self, url: str) -> None:
        """Load another page, or the same anew."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def call(self, method: str, **given: Any) -> Any:
        """One command and its answer.

        Raises:
            RuntimeError: the browser refuses, or ended.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") != self._number:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            return answer["result"]

    def value(self, expression: str) -> Any:
        """What an expression is in the page.

        Raises:
            RuntimeError: it threw.
        """
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"])[:500])
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a condition holds in the page.

        Raises:
            TimeoutError: it never did.
        """
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with suppress(RuntimeError):  # between two pages nothing can be asked
                if self.value(condition):
                    return
            time.sleep(0.02)
        raise TimeoutError(condition)

    def choose(self, selector: str, *files: Path) -> None:
        """Files chosen in a file field, as a person would."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
        self.call(
            "DOM.setFileInputFiles", files=[*map(str, files)], objectId=found["result"]["objectId"]
        )

    def drop(self, *files: Path) -> None:
        """Files dropped onto the middle of the page."""
        data = {"items": [], "files": [*map(str, files)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def picture(self, path: Path, *, width: int = 900) -> None:
        """The whole page as a picture."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], SECONDS)
            more = os.read(self._receive, 1 << 20) if ready else b""
            if not more:
                raise RuntimeError("the browser ended, or does not answer")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser of its own profile, ended with the block.

    Raises:
        RuntimeError: there is no Chromium here.
    """
    program = find()
    if program is None:
        raise RuntimeError("Chromium is not here; hint: run scripts/get_chromium.py")
    # The browser reads commands from 3 and writes answers to 4; ours are out of the way of both.
    theirs, ours = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe()]
    answers, speak = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe()]

    def place() -> None:
        os.dup2(theirs, 3)
        os.dup2(speak, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [str(program), "--headless", "--remote-debugging-pipe", "--disable-gpu"]
        words += [f"--user-data-dir={profile}", "--no-first-run", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            words.append("--no-sandbox")  # root, as in a container: there is no other user
        process = subprocess.Popen(
            words,
            pass_fds=(3, 4),
            preexec_fn=place,  # noqa: PLW1509  # two system calls, in a process of one thread
            env=os.environ | {"LD_LIBRARY_PATH": libraries()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(speak)
        try:
            yield Chromium(ours, answers)
        finally:
            os.close(ours)
            process.terminate()
            process.wait(timeout=SECONDS)
            os.close(answers)
