"""Debian's packages without being root: downloaded and unpacked, nothing installed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def unpack(packages: Sequence[str], place: Path) -> None:
    """Download these packages and unpack them into `place`; where that fails, nothing is there."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o755)  # apt downloads as another user where it can
        options: list[str] = []
        if not _download(packages, work, options):
            # No package lists, or old ones: our own, which needs no root.
            for folder in ("lists/partial", "archives/partial"):
                (work / folder).mkdir(parents=True)
            options = [
                f"-oDir::State::lists={work / 'lists'}",
                f"-oDir::Cache={work}",
                "-oDebug::NoLocking=1",
            ]
            run(["apt-get", *options, "update", "-qq"], work)
            _download(packages, work, options)
        for package in sorted(work.glob("*.deb")):
            place.mkdir(exist_ok=True)
            run(["dpkg-deb", "-x", str(package), str(place)], work)


def run(command: list[str], where: Path) -> bool:
    """Run a tool without its output; whether it succeeded."""
    done = subprocess.run(
        command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def _download(packages: Sequence[str], work: Path, options: list[str]) -> bool:
    run(["apt-get", *options, "download", "-qq", *packages], work)
    return len(list(work.glob("*.deb"))) == len(packages)
