"""A Kafka that wants certificates and passwords: our clients bring them, and check whom they talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import LOOPBACK, kept_ports
from headwater.errors import SettingInvalid, Unavailable
from headwater.kafka import abandon, build_consumer, ensure_topics, open_producer, stop_consumer
from headwater.settings import KafkaSettings, Settings
from headwater.topics import EVENTS
from tests.servers import temporary_folder

IDENTITY = Path(__file__).with_name("identity.pem")
"""A key and its certificate for 127.0.0.1, an authority for itself; of the tests only, and no secret."""

PASSWORD = "correct horse"  # of this test's own server
SASL = {
    "HEADWATER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "HEADWATER_KAFKA_CA_FILE": str(IDENTITY),
    "HEADWATER_KAFKA_SASL_USERNAME": "hub",
    "HEADWATER_KAFKA_SASL_PASSWORD": PASSWORD,
}
MUTUAL = {
    "HEADWATER_KAFKA_SECURITY_PROTOCOL": "SSL",
    "HEADWATER_KAFKA_CA_FILE": str(IDENTITY),
    "HEADWATER_KAFKA_CERT_FILE": str(IDENTITY),
}


@pytest.fixture(scope="module")
def ports() -> Iterator[Mapping[str, int]]:
    """Of a Kafka's listeners: `sasl` wants a password, `mutual` a certificate, both speak TLS only."""
    with temporary_folder() as folder:
        taken = kept_ports(folder / "ports.json", ("kafka", "controller", "sasl", "mutual"))
        listeners = ",".join(
            f"{name}://{LOOPBACK}:{taken[port]}"
            for name, port in (("PLAINTEXT", "kafka"), ("SASL", "sasl"), ("MUTUAL", "mutual"))
        )
        identity = folder / "identity.pem"
        identity.write_bytes(IDENTITY.read_bytes())
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        server = EmbeddedKafka(
            folder / "kafka",
            taken["kafka"],
            taken["controller"],
            properties={
                "listeners": f"{listeners},CONTROLLER://{LOOPBACK}:{taken['controller']}",
                "advertised.listeners": listeners,
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": identity.name,
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": identity.name,
                "listener.name.mutual.ssl.client.auth": "required",
                "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_hub="{PASSWORD}";',
            },
        )
        try:
            server.start()
            yield taken
        finally:
            server.stop()


def _settings(port: int, environ: Mapping[str, str]) -> KafkaSettings:
    return KafkaSettings.from_env(
        {"HEADWATER_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{port}", **environ},
    )


@pytest.mark.parametrize(("listener", "environ"), [("sasl", SASL), ("mutual", MUTUAL)])
async def test_records_pass_by_tls(
    ports: Mapping[str, int], listener: str, environ: Mapping[str, str]
) -> None:
    settings = _settings(ports[listener], environ)
    await ensure_topics(settings)
    producer = await open_producer(settings)
    try:
        sent = await producer.send_and_wait(EVENTS, listener.encode(), partition=0)
    finally:
        await producer.stop()
    consumer = build_consumer(settings, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([sent.topic_partition])
        consumer.seek(sent.topic_partition, sent.offset)
        assert (await consumer.getone()).value == listener.encode()
    finally:
        await stop_consumer(consumer)
    # as of a broker that has fallen silent
    async with asyncio.timeout(5):
        await abandon(await open_producer(settings))


@pytest.mark.parametrize(
    ("listener", "environ"),
    [
        ("sasl", {**SASL, "HEADWATER_KAFKA_SASL_PASSWORD": "wrong"}),
        # an authority that this server's certificate is not of
        ("sasl", {name: value for name, value in SASL.items() if "CA_FILE" not in name}),
        ("mutual", {name: value for name, value in MUTUAL.items() if "CERT" not in name}),
        ("mutual", {}),
    ],
    ids=["wrong password", "unknown authority", "no certificate", "no TLS"],
)
async def test_who_may_not_connect_does_not(
    ports: Mapping[str, int], listener: str, environ: Mapping[str, str]
) -> None:
    with pytest.raises(Unavailable) as caught:
        await ensure_topics(_settings(ports[listener], environ))
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HEADWATER_KAFKA_SECURITY_PROTOCOL": "TLS"}, "SECURITY_PROTOCOL is 'TLS', expected one"),
        ({"HEADWATER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_USERNAME and "),
        ({**SASL, "HEADWATER_KAFKA_SASL_MECHANISM": "PLAN"}, "SASL_MECHANISM is 'PLAN', expected"),
        ({"HEADWATER_KAFKA_CA_FILE": "ca.pem"}, "CA_FILE is set, but .* is PLAINTEXT"),
        ({"HEADWATER_KAFKA_SASL_PASSWORD": PASSWORD}, "PASSWORD is set, but .* is PLAINTEXT"),
        ({**MUTUAL, "HEADWATER_KAFKA_SASL_PASSWORD": PASSWORD}, "PASSWORD is set, but .* is SSL"),
        ({**SASL, "HEADWATER_KAFKA_CA_FILE": "/none.pem"}, "CA_FILE is '/none.pem', expected"),
        ({**SASL, "HEADWATER_KAFKA_CA_FILE": __file__}, "CA_FILE is .*, expected"),
        ({**MUTUAL, "HEADWATER_KAFKA_CERT_FILE": "/none.pem"}, "CERT_FILE is '/none.pem', expe"),
        ({**MUTUAL, "HEADWATER_KAFKA_KEY_FILE": __file__}, "CERT_FILE is .*, expected a certific"),
        ({**SASL, "HEADWATER_KAFKA_KEY_FILE": str(IDENTITY)}, "KEY_FILE is set, expected .*CERT"),
    ],
)
def test_what_would_not_be_used_or_cannot_be_is_refused(
    environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(SettingInvalid, match=said) as caught:
        Settings.from_env(environ)
    assert PASSWORD not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    assert PASSWORD not in repr(Settings.from_env(SASL))
