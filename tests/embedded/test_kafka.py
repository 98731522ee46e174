from __future__ import annotations

import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import is_open, kept_ports
from headwater.kafka import ensure_topics, open_producer
from headwater.settings import KafkaSettings
from headwater.topics import EVENTS
from tests.hub import wait_for
from tests.servers import running_kafka, temporary_folder


async def produce(server: EmbeddedKafka, value: bytes) -> None:
    producer = await open_producer(KafkaSettings(bootstrap=server.bootstrap))
    try:
        await producer.send_and_wait(EVENTS, value, partition=0)
    finally:
        await producer.stop()


async def consume(server: EmbeddedKafka, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(
        EVENTS, bootstrap_servers=server.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_records_survive_a_stop_a_crash_and_other_ports() -> None:
    with temporary_folder() as folder, running_kafka(folder) as server:
        await ensure_topics(KafkaSettings(bootstrap=server.bootstrap))
        await produce(server, b"1")
        server.stop()
        assert not is_open(server.port)
        server.start()
        await produce(server, b"2")
        server.kill()
        ports = kept_ports(folder / "other-ports.json", ("kafka", "controller"))
        moved = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
        try:
            moved.start()
            await produce(moved, b"3")
            assert await consume(moved, 3) == [b"1", b"2", b"3"]
        finally:
            moved.stop()


async def test_it_runs_in_folders_of_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    with temporary_folder() as folder:
        home = folder / "Ölmühle, né 水 #1 %41"
        (home / "kafka.new").mkdir(parents=True)
        (home / "kafka.new" / "meta.properties").write_text("begun, and broken off")
        with running_kafka(home) as server:
            await ensure_topics(KafkaSettings(bootstrap=server.bootstrap))
            await produce(server, b"1")
            server.kill()
            server.start()
            assert await consume(server, 1) == [b"1"]
        assert sorted(path.name for path in folder.iterdir()) == [home.name]
        assert (home / "kafka" / "meta.properties").is_file()
        assert not (home / "kafka.new").exists()


def test_it_listens_on_the_loopback_address_only_and_a_stop_leaves_no_process() -> None:
    with temporary_folder() as folder, running_kafka(folder) as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        listening = [c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"]
        assert listening
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        server.stop()
        wait_for(lambda: not process.is_running(), 5, "the broker to end")
