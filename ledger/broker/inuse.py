"""One lock per broker folder: shared while a broker runs, exclusive while its keys change."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ledger.errors import ConfigurationError

LOCK_FILE: Final = "broker.lock"


class FolderLock:
    """Holds the lock of a broker's folder until closed, or until the process ends however it ends.

    Args:
        folder: the broker's folder.
        exclusive: for changing its keys.

    Raises:
        ConfigurationError: somebody holds it, or it cannot be made.
    """

    def __init__(self, folder: Path, *, exclusive: bool) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigurationError(
                f"the broker in {folder} is running"
                if exclusive
                else f"the keys of the broker in {folder} are being rotated",
                hint="stop it first; start it again afterwards"
                if exclusive
                else "start it again when deed broker rotate has ended",
            ) from None
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"cannot lock the broker's folder {folder}: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
