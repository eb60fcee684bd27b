"""Hidden folders in which data sets are written, and what becomes of those whose process died.

A data set is written in a hidden folder beside Minari's other data sets, of which Minari neither lists nor loads
anything, and then moved to its place. One that is replaced waits in the hidden folder meanwhile. The writing process
holds a lock in its folder, which the operating system gives back when the process dies: whoever can take it may settle
the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = ".writing-"
OWNER = ".owner"  # the lock of the process that writes
REPLACED = "replaced"  # data sets that make room for those of the same id beside it


@contextmanager
def hidden_folder(root: Path) -> Iterator[Path]:
    """A folder of one's own to write in, below Minari's `root`; it is gone afterwards, and so is what dead processes
    left."""
    settle_abandoned(root)
    with _changing(root):  # so that nobody takes it for an abandoned one before it is locked
        hidden = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        owner = FileLock(hidden / OWNER, thread_local=False)
        owner.acquire()
    try:
        yield hidden
    finally:
        with _changing(root):
            owner.release()
            _settle(hidden, root)


def publish(hidden: Path, root: Path, dataset_id: str) -> None:
    """Move a data set that is complete to its place. One that is there goes away with the hidden folder."""
    new, target, replaced = hidden / dataset_id, root / dataset_id, hidden / REPLACED / dataset_id
    with _changing(root):
        if target.exists():
            replaced.parent.mkdir(parents=True)
            os.replace(target, replaced)
        os.replace(new, target)


def settle_abandoned(root: Path) -> None:
    """Finish what processes that died were publishing, and remove what they were writing."""
    if not any(root.glob(f"{PREFIX}*/{OWNER}")):
        return
    with _changing(root):
        for owner in root.glob(f"{PREFIX}*/{OWNER}"):
            lock = FileLock(owner)
            with suppress(Timeout, OSError):  # alive; or somebody else's, whose folder may not be changed
                lock.acquire(timeout=0)
                lock.release()
                _settle(owner.parent, root)


def _settle(hidden: Path, root: Path) -> None:
    """Remove a hidden folder. Where a data set was taken away and nothing came in its place, the new one does, which
    is complete by then, or else the old one again."""
    for replaced in (hidden / REPLACED).glob("**/data"):
        dataset_id = replaced.parent.relative_to(hidden / REPLACED)
        if not (root / dataset_id).exists():
            new = hidden / dataset_id
            os.replace(new if new.exists() else replaced.parent, root / dataset_id)
    shutil.rmtree(hidden, ignore_errors=True)


def _changing(root: Path) -> FileLock:
    """Held while hidden folders come and go. Its empty file stays: taking it away could give the lock to two."""
    return FileLock(root / ".lock")
