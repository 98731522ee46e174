from __future__ import annotations

import os

import asyncpg
import psutil
import pytest

from headwater.embedded.child import can_mask
from headwater.embedded.ports import LOOPBACK, is_open
from headwater.embedded.postgres import EmbeddedPostgres, ServerFailed
from tests.hub import wait_for
from tests.servers import running_postgres, temporary_folder


async def execute(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close(timeout=10)


async def test_data_survive_a_stop_and_a_crash() -> None:
    with temporary_folder() as folder, running_postgres(folder) as server:
        await execute(server, "CREATE TABLE kept (value integer)")
        await execute(server, "INSERT INTO kept VALUES (1)")
        server.stop()
        assert not is_open(server.port)
        server.start()
        await execute(server, "INSERT INTO kept VALUES (2)")
        server.kill()
        server.start()
        assert await execute(server, "SELECT sum(value) FROM kept") == 3


async def test_it_listens_on_the_loopback_address_only() -> None:
    with temporary_folder() as folder, running_postgres(folder) as server:
        assert await execute(server, "SHOW listen_addresses") == LOOPBACK
        assert await execute(server, "SHOW unix_socket_directories") == ""


def test_a_stop_leaves_no_process() -> None:
    with temporary_folder() as folder, running_postgres(folder) as server:
        assert server.process is not None
        parent = psutil.Process(server.process.pid)
        everybody = [parent, *parent.children(recursive=True)]
        server.stop()
        wait_for(lambda: not any(p.is_running() for p in everybody), 5, "all processes to end")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives its servers to somebody else")
async def test_it_runs_in_a_folder_that_only_root_can_pass() -> None:
    with temporary_folder() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        if not can_mask():
            with pytest.raises(ServerFailed, match="HEADWATER_HOME"):
                EmbeddedPostgres(closed / "postgres", 1).start()
            return
        with running_postgres(closed) as server:
            await execute(server, "CREATE TABLE kept AS SELECT 1 AS value")
            server.kill()
            # once it is root's it stays root's, also when everybody may pass
            closed.chmod(0o755)
            server.start()
            assert await execute(server, "SELECT value FROM kept") == 1
            assert server.process is not None
            everybody = psutil.Process(server.process.pid)
            processes = [everybody, *everybody.children(recursive=True)]
            server.stop()
            wait_for(lambda: not any(p.is_running() for p in processes), 5, "all to end")


async def test_a_start_that_was_broken_off_is_begun_again() -> None:
    with temporary_folder() as folder:
        begun = folder / "postgres.new"
        begun.mkdir()
        (begun / "PG_VERSION").write_text("18")
        with running_postgres(folder) as server:
            assert not begun.exists()
            server.stop()
            # killed between initdb and createdb: the cluster is there, the database is not
            server.launch()
            (folder / "postgres" / "headwater.made").unlink()
            server.wait()
            assert await execute(server, "SELECT 1") == 1
            assert (folder / "postgres" / "headwater.made").exists()


def test_a_second_server_in_the_folder_fails_and_leaves_the_first_unharmed() -> None:
    with temporary_folder() as folder, running_postgres(folder) as server:
        second = EmbeddedPostgres(folder / "postgres", server.port)
        with pytest.raises(ServerFailed, match=r"postgres\.log"):
            second.start()
        assert server.process is not None
        assert server.process.poll() is None
        assert is_open(server.port)
