"""Records in Kafka that no version of ours wrote must not stop who reads them."""

from __future__ import annotations

import orjson
from aiokafka import AIOKafkaProducer

from headwater.topics import PENDING, RESULTS
from tests.hub import Client, Hub, eventually
from tests.security.test_parsers import CORPUS


async def test_the_front_door_goes_on_behind_foreign_records(hub: Hub, client: Client) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=hub.kafka.bootstrap)
    await producer.start()
    try:
        partitions = await producer.partitions_for(RESULTS)
        for folder, topic, places in (
            ("result", RESULTS, partitions),
            ("pending_write", PENDING, {0}),
        ):
            foreign = [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())]
            for value in [*foreign, None]:
                for partition in places:
                    await producer.send_and_wait(topic, value, key=b"x", partition=partition)
    finally:
        await producer.stop()
    # its answer comes behind them, over the same partition
    assert (await client.customer(externalId="a1"))["externalId"] == "a1"

    async def were_read() -> bool:
        events = [line["event"] for line in hub.log_of("web")]
        return {"a result can't be read", "a pending write can't be read"} <= set(events)

    await eventually(were_read, what="both to be told")
    again = await client.call("GET", "/customers", params={"nodeId": client.node_id})
    assert orjson.loads(again.raw)["page"]["totalElements"] == 1
