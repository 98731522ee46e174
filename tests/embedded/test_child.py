from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from headwater.embedded.child import spawn, stop
from headwater.embedded.postgres import UNPRIVILEGED
from tests.hub import wait_for

USER = UNPRIVILEGED if os.geteuid() == 0 else None

PARENT = """
import signal, sys
from pathlib import Path
from headwater.embedded.child import spawn
user = None if sys.argv[2] == "-" else int(sys.argv[2])
child = spawn(["sleep", "600"], log=Path(sys.argv[1]), user=user)
print(child.pid, flush=True)
signal.pause()
"""


def command_of(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("user", sorted({"-", str(USER or "-")}))
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, user: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), user],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: command_of(child) == ["sleep", "600"], 10, "the child to run")
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not command_of(child), 10, "the child to end")


def test_a_child_runs_as_the_given_user(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn(["id", "-u"], log=log, user=USER)
    assert child.wait(10) == 0
    assert log.read_text().strip() == str(os.getuid() if USER is None else USER)


def test_a_child_that_ignores_the_signal_is_killed_with_its_group(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = "trap '' TERM; sleep 600 & echo $!; wait"
    child = spawn(["sh", "-c", deaf], log=log)
    wait_for(lambda: log.read_text().endswith("\n"), 10, "the grandchild to run")
    grandchild = int(log.read_text())
    stop(child, signal.SIGTERM, 0.2)
    assert child.returncode == -signal.SIGKILL
    wait_for(lambda: not command_of(grandchild), 10, "the grandchild to end")


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "folder" / "log"
    for word in ("one", "two"):
        assert spawn(["sh", "-c", f"echo {word} >&2"], log=log).wait(10) == 0
    assert log.read_text() == "one\ntwo\n"
