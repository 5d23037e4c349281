"""Find Chromium without windows for the tests of the page, or get it from Debian.

The package goes unpacked into the virtual environment; nothing is installed and no service starts.
Prints the program; where there is none it says so and ends with 1.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from from_debian import unpack

PLACE = Path(sys.prefix) / "chromium"
# The browser, and what it loads that a system without a desktop does not have.
PACKAGES = (
    *("chromium-headless-shell", "chromium-common", "libopenh264-7", "libdouble-conversion3"),
    *("libopus0", "libharfbuzz-subset0", "libxnvctrl0", "libpulse0", "libasyncns0", "libogg0"),
    *("libflac12", "libsndfile1", "libmp3lame0", "libmpg123-0", "libvorbis0a", "libvorbisenc2"),
    *("libminizip1", "libopenjp2-7"),
)
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")


def libraries() -> str:
    """Where the libraries that came with it stand, for LD_LIBRARY_PATH."""
    found = sorted(
        {library.parent for library in (PLACE / "usr" / "lib").glob("*-linux-*/**/*.so*")}
    )
    return ":".join(map(str, found))


def find() -> Path | None:
    """The program, from our own place or the system's."""
    own = PLACE / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    if own.is_file():
        return own
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


def main() -> int:
    """Find it or get it."""
    if find() is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        unpack(PACKAGES, PLACE)
    found = find()
    print(found or "error: Chromium is not here\nhint: install chromium-headless-shell or chromium")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
