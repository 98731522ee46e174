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

MASKED = -1
"""As `user`: the process keeps root's access to root's files, but sees itself as an ordinary user.

It runs in a user namespace in which root is named 1000, and has no rights over anybody else.
"""

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x1000_0000
_MASK = 1000
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
            command_of(command, end_with=end_with, user=user),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=environ_of(os.environ if environ is None else environ),
            start_new_session=True,
            pass_fds=keep,
        )


def command_of(
    command: Sequence[str], *, end_with: signal.Signals = signal.SIGTERM, user: int | None = None
) -> list[str]:
    """The command line that becomes `command`; to be run with `environ_of`."""
    who = "-" if user is None else str(user)
    module = "headwater.embedded.child"
    return [sys.executable, "-m", module, str(int(end_with)), who, *command]


def environ_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child, which ends if it is no child of ours any more."""
    return {**environ, _PARENT: str(os.getpid())}


def can_mask() -> bool:
    """Whether this system lets us run a process as MASKED."""
    done = subprocess.run(
        command_of(["true"], user=MASKED),
        env=environ_of(os.environ),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


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
    if user == str(MASKED):
        _mask()
    elif user != "-":
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


def _mask() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        sys.exit(f"no user namespace: {os.strerror(ctypes.get_errno())}")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_MASK} 0 1"),
        ("gid_map", f"{_MASK} 0 1"),
    ):
        Path("/proc/self", name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
