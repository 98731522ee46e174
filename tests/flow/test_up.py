"""`headwater up` as a person types it: started, broken, stopped, killed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from headwater.embedded.child import can_mask
from headwater.embedded.home import held
from headwater.embedded.ports import LOOPBACK, kept_ports
from tests.hub import wait_for
from tests.servers import temporary_folder

# several starts of everything in one test; `up` itself gives its services 30 s to serve
pytestmark = pytest.mark.timeout(300)

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]


def environ_of(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
    if "HEADWATER_CACHE" in os.environ:
        kept["HEADWATER_CACHE"] = os.environ["HEADWATER_CACHE"]
    file = home.parent / "up-port"
    if not file.exists():
        file.write_text(str(kept_ports(home.parent / "up-ports.json", ("web",))["web"]))
    return {**kept, "HEADWATER_HOME": str(home), "PORT": file.read_text()}


@contextmanager
def starting_up(home: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A hub that begins to start, and what it prints; it is ended in any case."""
    output = home.parent / "up.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*HEADWATER, "up"],
            env=environ_of(home),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process, output
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def running_up(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A hub that serves."""
    with starting_up(home) as (process, output):

        def serves() -> bool:
            assert process.poll() is None, output.read_text()
            return "Headwater serves at" in output.read_text()

        wait_for(serves, 90, "headwater up")
        yield process


def headwater(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADWATER, *arguments],
        env=environ_of(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_well(home: Path) -> None:
    done = headwater(home, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr


def all_of(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_the_end(processes: list[psutil.Process]) -> None:
    wait_for(lambda: not any(p.is_running() for p in processes), 10, f"{processes} to end")


def wait_for_children(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """All of them, once there are so many."""
    wait_for(lambda: len(all_of(process)) >= count, 30, f"{count} children")
    return all_of(process)


def wait_for_text(file: Path, text: str) -> None:
    wait_for(lambda: text in file.read_text(), 30, f"{text!r} in {file.name}")


def documents_of(text: str) -> list[Any]:
    """The JSON documents that stand one behind the other."""
    documents = []
    decoder = json.JSONDecoder()
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:]
    return documents


def demo_of(home: Path) -> dict[str, str]:
    words = shlex.split((home / "demo.env").read_text())
    return dict(word.split("=", 1) for word in words)


def test_a_hub_starts_heals_stops_and_finds_everything_again() -> None:
    with temporary_folder() as folder:
        home = folder / "home"
        with running_up(home) as up:
            assert (home / "demo.env").stat().st_mode & 0o777 == 0o600
            demo = demo_of(home)
            assert_well(home)

            second = headwater(home, "up")
            assert second.returncode == 1
            assert f"process {up.pid}" in second.stderr

            started = all_of(up)
            killed = [p for p in started if {"processor", "deploy.single"} & set(p.cmdline())]
            assert len(killed) == 2
            for process in killed:
                process.send_signal(signal.SIGKILL)
            wait_for_the_end(killed)
            wait_for(lambda: headwater(home, "doctor").returncode == 0, 40, "a healed hub")

            everything = all_of(up)
            up.send_signal(signal.SIGINT)
            up.send_signal(signal.SIGINT)
            assert up.wait(10) == 0
            wait_for_the_end(everything)

        with running_up(home) as up:
            assert demo_of(home) == demo
            assert_well(home)
            everything = all_of(up)
            up.kill()
            wait_for_the_end(everything)


def test_what_it_prints_can_be_pasted() -> None:
    with temporary_folder() as folder:
        # the way there is closed to others, and has letters that a shell and Java stumble over
        closed = folder / "né & 'Öl'"
        closed.mkdir(mode=0o700 if can_mask() else 0o711)
        home = closed / "home"
        with running_up(home) as up:
            printed = (closed / "up.txt").read_text()
            lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
            script = "\n".join(line for line in lines if line.startswith(("set -a", "curl")))
            assert script.count("curl") == 3
            assert shutil.which("curl"), "the lines are for curl"
            done = subprocess.run(
                ["sh", "-euc", script], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            customer, event, page = documents_of(done.stdout)
            assert customer["externalId"] == "ann-1"
            assert set(event) == {"id"}
            assert page["nextOffset"] >= 1

            # operators need no database URL where the hub runs
            servers = home / "servers.env"
            assert servers.stat().st_mode & 0o777 == 0o600
            made = headwater(home, "workspace", "create", "Shop", "--slug", "shop")
            assert made.returncode == 0, made.stderr
            node = headwater(home, "node", "create", "web", "--workspace", made.stdout.strip())
            assert node.returncode == 0, node.stderr

            # closed terminal
            everything = all_of(up)
            up.send_signal(signal.SIGHUP)
            assert up.wait(15) == 0
            wait_for_the_end(everything)
            assert not servers.exists()


def test_a_start_that_is_broken_off_leaves_nothing_at_work_and_the_next_goes_on() -> None:
    with temporary_folder() as folder:
        home = folder / "home"
        for work in ("kafka.tools.StorageTool", "initdb"):
            _kill_at(home, work)
        for children in range(4):
            _press_ctrl_c_at(home, children)
        with running_up(home):
            assert_well(home)


def _kill_at(home: Path, work: str) -> None:
    up = subprocess.Popen([*HEADWATER, "up"], env=environ_of(home), stderr=subprocess.DEVNULL)
    is_begun = partial(_is_at_work, up, work)
    wait_for(is_begun, 60, work)
    started = all_of(up)
    up.kill()
    up.wait(10)
    with held(home, seconds=30):
        # who ends gives its memory back before its files, and may be seen for a moment after that
        assert [line for process in started if (line := _command_line(process))] == []


def _press_ctrl_c_at(home: Path, children: int) -> None:
    with starting_up(home) as (up, output):
        wait_for_text(output, "Starting Postgres")
        everything = wait_for_children(up, children)
        up.send_signal(signal.SIGINT)
        up.send_signal(signal.SIGINT)
        assert up.wait(15) == 0, output.read_text()
        assert "Stopped." in output.read_text()
        wait_for_the_end(everything)


def _is_at_work(up: subprocess.Popen[Any], work: str) -> bool:
    assert up.poll() is None
    return any(work in word for process in all_of(up) for word in _command_line(process))


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_folder_that_can_not_be_used_is_named() -> None:
    with temporary_folder() as folder:
        file = folder / "file"
        file.write_text("")
        for home in (file, file / "home", Path("/proc/home")):
            done = subprocess.run(
                [*HEADWATER, "up", "--home", str(home)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 1
            assert done.stderr.startswith(f"Error: {home} can't be used: "), done.stderr


def test_a_wrong_setting_is_named_before_anything_starts() -> None:
    with temporary_folder() as folder:
        for name, value in (
            ("HEADWATER_PROCESSOR_BATCH_RECORDS", "0"),
            ("HEADWATER_LOG_LEVEL", "LOUD"),
            ("HEADWATER_DATABASE_URL", "postgresql://a@b:port/c"),
        ):
            done = subprocess.run(
                [*HEADWATER, "up"],
                env={**environ_of(folder / "home"), name: value},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"Error: {name} "), done.stderr
            assert not (folder / "home").exists()


def test_a_wrong_database_is_named() -> None:
    with temporary_folder() as folder:
        environ = {**environ_of(folder / "home"), "HEADWATER_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
        done = subprocess.run(
            [*HEADWATER, "up"],
            env={**environ, "HEADWATER_DATABASE_URL": "postgresql://a@127.0.0.1:9/b"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert "Error: Postgres: " in done.stderr


def test_a_taken_port_is_named() -> None:
    with temporary_folder() as folder:
        home = folder / "home"
        port = environ_of(home)["PORT"]
        with socket.create_server((LOOPBACK, int(port))):
            done = subprocess.run(
                [*HEADWATER, "up", "--port", port, "--home", str(home)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 1
        assert f"port {port} is taken" in done.stderr
