"""Find SoftHSM2 for the tests of PKCS#11 key stores, or get it from Debian without being root.

The packages go unpacked into the virtual environment; nothing is installed. As root, and only when
that fails, they are installed. Prints the library and the tool; exits with 2 and a hint otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from from_debian import run, unpack

PLACE = Path(sys.prefix) / "softhsm"
PACKAGES = ("softhsm2", "libsofthsm2")
FOLDERS = (
    PLACE / "usr",
    Path("/usr"),
    Path("/usr/local"),
    Path("/opt/homebrew"),
)


def find() -> tuple[Path, Path] | None:
    """The library and ``softhsm2-util``, from the environment, our own place or the system."""
    named = os.environ.get("SOFTHSM2_LIB")
    if named:
        tool = shutil.which("softhsm2-util")
        return (Path(named), Path(tool)) if tool and Path(named).is_file() else None
    for folder in FOLDERS:
        tool = folder / "bin" / "softhsm2-util"
        for pattern in ("lib/softhsm", "lib/*/softhsm", "lib64/pkcs11", "lib64/softhsm"):
            for library in folder.glob(f"{pattern}/libsofthsm2.so"):
                if tool.is_file():
                    return library, tool
    return None


def main() -> int:
    """Find it or get it."""
    found = find()
    if found is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        unpack(PACKAGES, PLACE)
        found = find()
        if found is None and os.geteuid() == 0:
            run(["apt-get", "install", "-y", "-qq", "softhsm2"], Path.cwd())
            found = find()
    if found is None:
        print("error: SoftHSM2 is not here and could not be fetched", file=sys.stderr)
        print(
            "hint: install the package softhsm2 (Debian, Fedora: softhsm), or name the library in "
            "SOFTHSM2_LIB with softhsm2-util on PATH",
            file=sys.stderr,
        )
        return 2
    print(*found, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
