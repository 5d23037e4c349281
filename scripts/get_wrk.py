"""Find wrk, which loads the service for ``bench.py api``, or get it from Debian without being root.

The packages go unpacked into the virtual environment; nothing is installed. Prints the program;
where there is none it says so and ends with 0.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from from_debian import unpack

PLACE = Path(sys.prefix) / "wrk"
PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")


def find() -> Path | None:
    """The program, from our own place or the system's."""
    own = PLACE / "usr" / "bin" / "wrk"
    if own.is_file():
        return own
    found = shutil.which("wrk")
    return Path(found) if found else None


def libraries() -> str:
    """What LD_LIBRARY_PATH must be for it; empty for the system's."""
    return ":".join(str(path.parent) for path in PLACE.glob("usr/lib/*/libluajit-5.1.so.2"))


def main() -> int:
    """Find it or get it."""
    if find() is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        unpack(PACKAGES, PLACE)
    print(find() or "wrk is not here; bench.py api needs it. hint: install wrk")
    return 0


if __name__ == "__main__":
    sys.exit(main())
