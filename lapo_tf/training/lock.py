"""A run folder belongs to one process at a time."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout

from lapo_tf.errors import UserError


class InUseError(UserError):
    """Another process has the folder."""


class RunLock:
    """An exclusive lock on a folder. It is the operating system's, so a process that dies does not keep it.

    The empty file `.lock` stays in the folder: taking it away could give the lock to two. `.owner` names who holds it,
    for the message to others.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: of the run; made if need be.

        Raises:
            InUseError: another process has it.
            UserError: the folder cannot be written.
        """
        self.folder, self._owner = folder, folder / ".owner"
        self._lock = FileLock(folder / ".lock", thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._owner.write_text(f"process {os.getpid()} on {platform.node()}")
        except Timeout:
            raise InUseError(f"{folder} is being trained by {self._holder()}: wait for it, or stop it first") from None
        except OSError as error:
            self.release()
            raise UserError(f"cannot write to {folder} ({error.strerror}): give another --run-dir") from error

    def _holder(self) -> str:
        try:
            return self._owner.read_text().strip() or "another process"
        except OSError:  # it has not written it yet
            return "another process"

    def release(self) -> None:
        """Let others have it; may be called again."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()
