"""The folder of one hub's data, held by one hub at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import HubError


class HomeTaken(HubError):
    """Another hub, or what is left of one, uses the folder."""


@contextmanager
def held(home: Path, *, seconds: float = 15.0) -> Iterator[int]:
    """Make the folder ours; yields a descriptor that every child process should inherit.

    The lock lasts as long as any process has the descriptor: who starts in the place of a killed hub
    waits here until that one's servers have ended.

    Raises:
        HomeTaken: a hub runs there, or its servers did not end within the limit.
    """
    with (home / "lock").open("a+", encoding="utf-8") as file:
        limit = time.monotonic() + seconds
        while not _is_locked(file.fileno()):
            file.seek(0)
            owner = file.read().strip()
            if owner and Path(f"/proc/{owner}").exists():
                raise HomeTaken(
                    f"a hub runs in {home} already (process {owner}): stop it, or name another "
                    "folder (make run HEADWATER_HOME=...)"
                )
            if time.monotonic() > limit:
                raise HomeTaken(
                    f"servers of an earlier hub still run in {home} after {seconds:.0f} s: end them "
                    f"(`fuser {home / 'lock'}` lists them)"
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
