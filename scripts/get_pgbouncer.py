"""Find PgBouncer for the tests, or get it from Debian without being root.

The packages go unpacked into the virtual environment; nothing is installed and no service starts.
Prints the program; where there is none it says so and ends with 0, since only two tests want it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from from_debian import unpack

PLACE = Path(sys.prefix) / "pgbouncer"
PACKAGES = ("pgbouncer", "libc-ares2", "libevent-2.1-7")


def find() -> Path | None:
    """The program, from our own place or the system's."""
    own = PLACE / "usr" / "sbin" / "pgbouncer"
    if own.is_file():
        return own
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    return Path(found) if found else None


def main() -> int:
    """Find it or get it."""
    if find() is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        unpack(PACKAGES, PLACE)
    found = find()
    print(found or "PgBouncer is not here; its tests are skipped. hint: install pgbouncer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
