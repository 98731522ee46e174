from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater.embedded.home import HomeTaken, held

HOLD = """
import subprocess, sys
from pathlib import Path
from headwater.embedded.home import held
with held(Path(sys.argv[1])) as lock:
    server = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=(lock,), stdout=subprocess.DEVNULL)
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(home: Path, server_seconds: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home), server_seconds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_hub_in_the_folder_is_refused_at_once(tmp_path: Path) -> None:
    with hold(tmp_path, "0") as holder:
        with pytest.raises(HomeTaken, match=f"process {holder.pid}"), held(tmp_path):
            pass
        holder.kill()
    with held(tmp_path):
        pass


def test_the_servers_of_a_killed_hub_are_waited_for(tmp_path: Path) -> None:
    with hold(tmp_path, "1") as holder:
        holder.kill()
    with pytest.raises(HomeTaken, match="earlier hub"), held(tmp_path, seconds=0):
        pass
    with held(tmp_path, seconds=10):
        pass
