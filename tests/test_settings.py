"""Settings: what can't be read is named, what is empty is the default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import headwater.settings
from headwater.errors import SettingInvalid
from headwater.settings import Settings

NAMES = sorted(
    set(
        re.findall(
            r'"(HEADWATER_[A-Z_]+)"',
            Path(headwater.settings.__file__).read_text(encoding="utf-8"),
        )
    )
    # made from the process id
    - {"HEADWATER_INGEST_INSTANCE"}
)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_value_means_the_default(name: str) -> None:
    default = Settings.from_env({"HEADWATER_INGEST_INSTANCE": "x"})
    assert Settings.from_env({"HEADWATER_INGEST_INSTANCE": "x", name: ""}) == default


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost/headwater", "HEADWATER_DATABASE_URL is no URL, expected postgresql://"),
        ("mysql://a:secret@b/c", "HEADWATER_DATABASE_URL is 'mysql', expected postgresql://"),
        ("postgresql://a:secret@b:x/c", "HEADWATER_DATABASE_URL has the port 'x', expected postg"),
        ("postgresql://a:secret@b:1,[::1]:y", "HEADWATER_DATABASE_URL has the port 'y', expected"),
    ],
)
def test_a_database_that_is_no_postgres_is_refused_without_its_password(
    url: str, said: str
) -> None:
    with pytest.raises(SettingInvalid, match=re.escape(said)) as caught:
        Settings.from_env({"HEADWATER_DATABASE_URL": url})
    assert "secret" not in str(caught.value)
    for good in (
        "postgresql://a@b:1,c:2/d",
        "postgres:///d?host=/run",
        "postgresql://a:b:c@[::1]/d",
        "postgresql://a@[::1]:5432?x=y:z",
    ):
        settings = Settings.from_env({"HEADWATER_DATABASE_URL": good})
        assert settings.postgres.database_url == good


def test_a_service_that_names_no_servers_is_refused() -> None:
    none = Settings.from_env({})
    with pytest.raises(SettingInvalid, match="HEADWATER_DATABASE_URL is not set"):
        none.check_servers(needs_kafka=False)
    only = Settings.from_env({"HEADWATER_DATABASE_URL": "postgresql://a@b/c"})
    only.check_servers(needs_kafka=False)
    with pytest.raises(SettingInvalid, match="HEADWATER_KAFKA_BOOTSTRAP is not set"):
        only.check_servers(needs_kafka=True)


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "x" * 513, "with a space in it", "schlüssel-schlüssel"]
)
def test_an_operator_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(SettingInvalid, match="HEADWATER_OPERATOR_TOKEN has ") as caught:
        Settings.from_env({"HEADWATER_OPERATOR_TOKEN": token})
    assert token not in str(caught.value)
    good = "x" * 16
    assert Settings.from_env({"HEADWATER_OPERATOR_TOKEN": good}).operator_token == good


def test_a_trusted_proxy_that_is_no_address_is_refused() -> None:
    name = "HEADWATER_HTTP_TRUSTED_PROXIES"
    for text in ("proxy.example", "10.0.0.1/8", "10.0.0.0/33", "::1, x"):
        with pytest.raises(SettingInvalid, match=f"{name} has "):
            Settings.from_env({name: text})
    good = Settings.from_env({name: "10.0.0.0/8,::1, "}).http.trusted_proxies
    assert [str(network) for network in good] == ["10.0.0.0/8", "::1/128"]
