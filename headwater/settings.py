"""Every setting of the hub, typed; the only reader of the environment.

Names are `HEADWATER_<AREA>_<NAME>_<UNIT>`; secrets have no defaults here.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from headwater.errors import SettingInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """`statement_cache=0` is for PgBouncer in transaction mode, which breaks prepared statements."""

    database_url: str = ""
    acquire_seconds: float = 5.0
    statement_cache: int = 200
    idle_in_transaction_seconds: float = 10.0
    statement_seconds: float = 60.0
    web_connections: int = 8
    feed_connections: int = 4
    processor_connections: int = 4

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            database_url=_database_url(environ),
            acquire_seconds=_number(environ, "HEADWATER_POSTGRES_ACQUIRE_SECONDS", 5.0),
            statement_cache=_integer(environ, "HEADWATER_POSTGRES_STATEMENT_CACHE", 200),
            idle_in_transaction_seconds=_number(
                environ, "HEADWATER_POSTGRES_IDLE_IN_TRANSACTION_SECONDS", 10.0
            ),
            statement_seconds=_number(environ, "HEADWATER_POSTGRES_STATEMENT_SECONDS", 60.0),
            web_connections=_integer(environ, "HEADWATER_POSTGRES_WEB_CONNECTIONS", 8, least=2),
            feed_connections=_integer(environ, "HEADWATER_POSTGRES_FEED_CONNECTIONS", 4, least=1),
            processor_connections=_integer(
                environ, "HEADWATER_POSTGRES_PROCESSOR_CONNECTIONS", 4, least=2
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """How to connect to Kafka. `context` is for the protocols with TLS, `username` and `password` for those with
    SASL.
    """

    protocol: str = "PLAINTEXT"
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Certificates are read here, so that a wrong file ends the start.

        What would not be used is refused: who sets a password or a certificate wants it to count.
        """
        protocol = _one_of(environ, "HEADWATER_KAFKA_SECURITY_PROTOCOL", _PROTOCOLS)
        by_tls = (
            "HEADWATER_KAFKA_CA_FILE",
            "HEADWATER_KAFKA_CERT_FILE",
            "HEADWATER_KAFKA_KEY_FILE",
        )
        by_sasl = ("HEADWATER_KAFKA_SASL_USERNAME", "HEADWATER_KAFKA_SASL_PASSWORD")
        has_tls, has_sasl = protocol.endswith("SSL"), protocol.startswith("SASL")
        for names, is_used in ((by_tls, has_tls), (by_sasl, has_sasl)):
            for name in names:
                if environ.get(name) and not is_used:
                    raise SettingInvalid(
                        f"{name} is set, but HEADWATER_KAFKA_SECURITY_PROTOCOL is {protocol}"
                    )
        username, password = (environ.get(name) for name in by_sasl)
        if has_sasl and not (username and password):
            raise SettingInvalid(
                f"HEADWATER_KAFKA_SECURITY_PROTOCOL is {protocol}, expected {' and '.join(by_sasl)} too"
            )
        return cls(
            protocol=protocol,
            context=_kafka_context(environ) if has_tls else None,
            mechanism=_one_of(environ, "HEADWATER_KAFKA_SASL_MECHANISM", _MECHANISMS),
            username=username or None,
            password=password or None,
        )


_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def _kafka_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Brokers have to show a certificate of their name, of the named authorities or else those of the system."""
    ca_file = environ.get("HEADWATER_KAFKA_CA_FILE")
    cert_file = environ.get("HEADWATER_KAFKA_CERT_FILE")
    key_file = environ.get("HEADWATER_KAFKA_KEY_FILE")
    if key_file and not cert_file:
        raise SettingInvalid(
            "HEADWATER_KAFKA_KEY_FILE is set, expected HEADWATER_KAFKA_CERT_FILE too"
        )
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as exc:
        raise SettingInvalid(
            f"HEADWATER_KAFKA_CA_FILE is {ca_file!r}, expected a file of certificates (PEM): {exc}"
        ) from exc
    if cert_file:
        try:
            # an encrypted key would be asked for at a terminal
            context.load_cert_chain(cert_file, key_file or None, password=lambda: "")
        except (OSError, ValueError) as exc:
            raise SettingInvalid(
                f"HEADWATER_KAFKA_CERT_FILE is {cert_file!r}, expected a certificate with its key, which is not "
                f"encrypted (PEM), there or in HEADWATER_KAFKA_KEY_FILE: {exc}"
            ) from exc
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Partition counts are used when the topics are made; existing topics keep theirs."""

    bootstrap: str = ""
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    customers_partitions: int = 4
    events_partitions: int = 4
    results_partitions: int = 8
    replication_factor: int = 1
    retention_hours: int = 24 * 14

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            bootstrap=environ.get("HEADWATER_KAFKA_BOOTSTRAP", ""),
            security=KafkaSecurity.from_env(environ),
            customers_partitions=_integer(
                environ, "HEADWATER_KAFKA_CUSTOMERS_PARTITIONS", 4, least=1
            ),
            events_partitions=_integer(environ, "HEADWATER_KAFKA_EVENTS_PARTITIONS", 4, least=1),
            results_partitions=_integer(environ, "HEADWATER_KAFKA_RESULTS_PARTITIONS", 8, least=1),
            replication_factor=_integer(environ, "HEADWATER_KAFKA_REPLICATION_FACTOR", 1, least=1),
            retention_hours=_integer(environ, "HEADWATER_KAFKA_RETENTION_HOURS", 24 * 14, least=1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """`public_url` is the base of the links in answers; without it the request's host is used.

    `unready_seconds` is how long `/health/ready` says 503 before an ending process stops accepting.
    A client has `head_seconds` and `body_seconds` for its request and `idle_seconds` until the next one, and
    has to take something of its answer every `send_seconds`.

    At most `connections` are open and `requests` at work at once, whose bodies hold `request_bytes`.

    Of what `trusted_proxies` say in `X-Forwarded-For`, a client's address is believed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    unready_seconds: float = 0.5
    drain_seconds: float = 8.0
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    send_seconds: float = 30.0
    connections: int = 16_384
    requests: int = 2_000
    request_bytes: int = 64 * 1024 * 1024

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            host=environ.get("HEADWATER_HTTP_HOST") or "127.0.0.1",
            port=_port(environ, "HEADWATER_HTTP_PORT", 8080),
            public_url=environ.get("HEADWATER_HTTP_PUBLIC_URL") or None,
            trusted_proxies=_networks(environ, "HEADWATER_HTTP_TRUSTED_PROXIES"),
            unready_seconds=_number(environ, "HEADWATER_HTTP_UNREADY_SECONDS", 0.5),
            drain_seconds=_number(environ, "HEADWATER_HTTP_DRAIN_SECONDS", 8.0),
            head_seconds=_number(environ, "HEADWATER_HTTP_HEAD_SECONDS", 10.0),
            body_seconds=_number(environ, "HEADWATER_HTTP_BODY_SECONDS", 60.0),
            idle_seconds=_number(environ, "HEADWATER_HTTP_IDLE_SECONDS", 75.0),
            send_seconds=_number(environ, "HEADWATER_HTTP_SEND_SECONDS", 30.0),
            connections=_integer(environ, "HEADWATER_HTTP_CONNECTIONS", 16_384, least=1),
            requests=_integer(environ, "HEADWATER_HTTP_REQUESTS", 2_000, least=2),
            request_bytes=_integer(
                environ, "HEADWATER_HTTP_REQUEST_BYTES", 64 * 1024 * 1024, least=1
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """`instance` names the process; a hash of it picks the partition of its results. `waiting_bytes` bounds
    what may wait for Kafka at once, `waiting_answers` the writes whose outcome is waited for, `pending_writes` those
    that can be joined after a wait in vain.
    """

    instance: str = ""
    produce_seconds: float = 5.0
    wait_seconds: float = 10.0
    waiting_bytes: int = 64 * 1024 * 1024
    waiting_answers: int = 20_000
    pending_writes: int = 50_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            instance=environ.get("HEADWATER_INGEST_INSTANCE")
            or f"{socket.gethostname()}-{os.getpid()}",
            produce_seconds=_number(environ, "HEADWATER_INGEST_PRODUCE_SECONDS", 5.0),
            wait_seconds=_number(environ, "HEADWATER_INGEST_WAIT_SECONDS", 10.0),
            waiting_bytes=_integer(environ, "HEADWATER_INGEST_WAITING_BYTES", 64 * 1024 * 1024),
            waiting_answers=_integer(environ, "HEADWATER_INGEST_WAITING_ANSWERS", 20_000, least=2),
            pending_writes=_integer(environ, "HEADWATER_INGEST_PENDING_WRITES", 50_000, least=1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """`instance` is the static member id in the consumer group: stable over restarts, unique.

    The alarm is raised when more than `alarm_share` of the writes of the last `alarm_seconds` were refused,
    if these are `alarm_records` or more.

    `crash_at` is for tests only: the step of a batch after which the process kills itself
    (`processor/crash.py`).
    """

    instance: str = ""
    batch_records: int = 1_000
    poll_seconds: float = 0.25
    session_seconds: float = 10.0
    rebalance_seconds: float = 30.0
    watchdog_seconds: float = 60.0
    retry_seconds: float = 0.2
    retry_max_seconds: float = 5.0
    alarm_share: float = 0.2
    alarm_seconds: float = 300.0
    alarm_records: int = 200
    crash_at: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            instance=environ.get("HEADWATER_PROCESSOR_INSTANCE") or socket.gethostname(),
            batch_records=_integer(environ, "HEADWATER_PROCESSOR_BATCH_RECORDS", 1_000, least=1),
            poll_seconds=_number(environ, "HEADWATER_PROCESSOR_POLL_SECONDS", 0.25),
            session_seconds=_number(environ, "HEADWATER_PROCESSOR_SESSION_SECONDS", 10.0),
            rebalance_seconds=_number(environ, "HEADWATER_PROCESSOR_REBALANCE_SECONDS", 30.0),
            watchdog_seconds=_number(environ, "HEADWATER_PROCESSOR_WATCHDOG_SECONDS", 60.0),
            retry_seconds=_number(environ, "HEADWATER_PROCESSOR_RETRY_SECONDS", 0.2),
            retry_max_seconds=_number(environ, "HEADWATER_PROCESSOR_RETRY_MAX_SECONDS", 5.0),
            alarm_share=_share(environ, "HEADWATER_PROCESSOR_ALARM_SHARE", 0.2),
            alarm_seconds=_number(environ, "HEADWATER_PROCESSOR_ALARM_SECONDS", 300.0),
            alarm_records=_integer(environ, "HEADWATER_PROCESSOR_ALARM_RECORDS", 200, least=1),
            crash_at=environ.get("HEADWATER_PROCESSOR_CRASH_AT", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """How the feed is followed: the ticker's pace, how many rows one filtered page may look at, and how many
    `readers` may wait or follow at once.
    """

    tick_seconds: float = 0.05
    scan_rows: int = 20_000
    heartbeat_seconds: float = 10.0
    readers: int = 2_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            tick_seconds=_number(environ, "HEADWATER_STREAM_TICK_SECONDS", 0.05),
            scan_rows=_integer(environ, "HEADWATER_STREAM_SCAN_ROWS", 20_000, least=1),
            heartbeat_seconds=_number(environ, "HEADWATER_STREAM_HEARTBEAT_SECONDS", 10.0),
            readers=_integer(environ, "HEADWATER_STREAM_READERS", 2_000, least=2),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where a process shows its metrics. `port` 0: nowhere. Taken ports are passed over."""

    host: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(
            host=environ.get("HEADWATER_METRICS_HOST") or "127.0.0.1",
            port=_port(environ, "HEADWATER_METRICS_PORT", 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`format` is `json` (for machines) or `console` (for people)."""

    format: str = "json"
    level: str = "INFO"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        form = environ.get("HEADWATER_LOG_FORMAT") or "json"
        if form not in {"json", "console"}:
            raise SettingInvalid(f"HEADWATER_LOG_FORMAT is {form!r}, expected json or console")
        level = (environ.get("HEADWATER_LOG_LEVEL") or "INFO").upper()
        if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingInvalid(
                f"HEADWATER_LOG_LEVEL is {level!r}, expected DEBUG, INFO, WARNING or ERROR"
            )
        return cls(format=form, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All areas. `operator_token` (HEADWATER_OPERATOR_TOKEN) is the platform operator's, if given."""

    postgres: PostgresSettings
    kafka: KafkaSettings
    http: HttpSettings
    ingest: IngestSettings
    processor: ProcessorSettings
    stream: StreamSettings
    log: LogSettings
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    operator_token: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read everything.

        Raises:
            SettingInvalid: a variable holds what can't be read.
        """
        return cls(
            postgres=PostgresSettings.from_env(environ),
            kafka=KafkaSettings.from_env(environ),
            http=HttpSettings.from_env(environ),
            ingest=IngestSettings.from_env(environ),
            processor=ProcessorSettings.from_env(environ),
            stream=StreamSettings.from_env(environ),
            log=LogSettings.from_env(environ),
            metrics=MetricsSettings.from_env(environ),
            operator_token=_token(environ, "HEADWATER_OPERATOR_TOKEN"),
        )

    def check_servers(self, *, needs_kafka: bool) -> None:
        """For a service, which can't do without its servers and would wait for them for ever.

        Raises:
            SettingInvalid: one is not named.
        """
        if not self.postgres.database_url:
            raise SettingInvalid(f"HEADWATER_DATABASE_URL is not set, expected {_DATABASE_URL}")
        if needs_kafka and not self.kafka.bootstrap:
            raise SettingInvalid("HEADWATER_KAFKA_BOOTSTRAP is not set, expected host:port")


_DATABASE_URL = "postgresql://user@host:port/database"


def _database_url(environ: Mapping[str, str]) -> str:
    text = environ.get("HEADWATER_DATABASE_URL", "")
    scheme, found, _ = text.partition("://")
    if text and (not found or scheme not in {"postgresql", "postgres"}):
        # not the whole: it may hold a password
        shown = repr(scheme) if found else "no URL"
        raise SettingInvalid(f"HEADWATER_DATABASE_URL is {shown}, expected {_DATABASE_URL}")
    for port in _ports(text):
        if not port.isdigit():
            raise SettingInvalid(
                f"HEADWATER_DATABASE_URL has the port {port!r}, expected {_DATABASE_URL}"
            )
    return text


def _ports(url: str) -> list[str]:
    """What stands behind the colon of each host; there may be several, and addresses in brackets."""
    hosts = re.split("[/?#]", url.partition("://")[2])[0].rpartition("@")[2].split(",")
    return [port for host in hosts if (port := host.rpartition("]")[2].partition(":")[2])]


def _token(environ: Mapping[str, str], name: str) -> str | None:
    """A token that can't be tried out and that a header can carry; it is never told."""
    text = environ.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[!-~]{16,512}", text):
        raise SettingInvalid(
            f"{name} has {len(text)} characters, expected 16 to 512 that are printable ASCII and no spaces"
        )
    return text


def _networks(environ: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks between commas."""
    found = []
    for text in filter(None, (part.strip() for part in environ.get(name, "").split(","))):
        try:
            found.append(ip_network(text))
        except ValueError:
            raise SettingInvalid(
                f"{name} has {text!r}, expected addresses or networks (CIDR) between commas"
            ) from None
    return tuple(found)


def _one_of(environ: Mapping[str, str], name: str, values: Sequence[str]) -> str:
    """One of some words; the first is the default."""
    text = environ.get(name) or values[0]
    if text not in values:
        raise SettingInvalid(f"{name} is {text!r}, expected one of {', '.join(values)}")
    return text


def _integer(environ: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingInvalid(f"{name} is {text!r}, expected a whole number") from None
    if value < least:
        raise SettingInvalid(f"{name} is {text!r}, expected {least} or more")
    return value


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingInvalid(f"{name} is {text!r}, expected a number of seconds") from None
    if not 0 < value < 1e9:
        raise SettingInvalid(f"{name} is {text!r}, expected a number of seconds above 0")
    return value


def _share(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingInvalid(f"{name} is {text!r}, expected a share between 0 and 1") from None
    if not 0 <= value <= 1:
        raise SettingInvalid(f"{name} is {text!r}, expected a share between 0 and 1")
    return value


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    value = _integer(environ, name, default)
    if value > 65_535:
        raise SettingInvalid(f"{name} is {value}, expected a port of 0 to 65535")
    return value
