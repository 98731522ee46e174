"""Child processes that never outlive us: `python -m headwater.embedded.child COMMAND...` becomes COMMAND.

The kernel is told to end the process when its parent dies, however that happens. Set here, after the
user was changed, because a change of user clears it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PARENT = "HEADWATER_CHILD_OF"


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    end_with: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, its output appended to `log`.

    `end_with` is the signal it gets when the calling thread ends, so call it from the main thread.
    `keep` are file descriptors that it inherits.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "headwater.embedded.child",
                str(int(end_with)),
                "-" if user is None else str(user),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**(os.environ if environ is None else environ), _PARENT: str(os.getpid())},
            start_new_session=True,
            pass_fds=keep,
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float) -> None:
    """Ask a process to end; after `seconds` its whole group is killed."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Become the command."""
    end_with, user, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if user != "-":
        # here and not in the parent: the unprivileged user may not be able to start our Python
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, end_with)
    # the parent may have died before the call above
    if os.environ.pop(_PARENT, "") != str(os.getppid()):
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
