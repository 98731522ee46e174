"""`headwater up` as a person types it: started, broken, stopped, killed."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from headwater.embedded.ports import LOOPBACK, kept_ports
from tests.hub import wait_for
from tests.servers import temporary_folder

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
def running_up(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A hub that serves."""
    environ = environ_of(home)
    output = home.parent / "up.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*HEADWATER, "up"], env=environ, stdout=file, stderr=subprocess.STDOUT, text=True
        )

    def serves() -> bool:
        assert process.poll() is None, output.read_text()
        return "Headwater serves at" in output.read_text()

    try:
        wait_for(serves, 40, "headwater up")
        yield process
    finally:
        process.kill()
        process.wait(10)


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


def all_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_the_end(processes: list[psutil.Process]) -> None:
    wait_for(lambda: not any(p.is_running() for p in processes), 10, f"{processes} to end")


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
            assert up.wait(10) == 0
            wait_for_the_end(everything)

        with running_up(home) as up:
            assert demo_of(home) == demo
            assert_well(home)
            everything = all_of(up)
            up.kill()
            wait_for_the_end(everything)


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
