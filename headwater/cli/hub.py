"""Where the hub is, for the commands that use its public API."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from headwater.settings import PostgresSettings

SERVERS = "servers.env"
"""File of a running hub's folder that names its servers; gone when the hub has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A workspace of a running hub, and a token for it."""

    base: str
    workspace_id: str
    token: str
    node_id: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def url(self, path: str) -> str:
        """The URL of a path within the workspace."""
        return f"{self.base}/workspaces/{self.workspace_id}/{path}"


def find_hub(environ: Mapping[str, str] = os.environ) -> Hub:
    """The hub that the environment names, else the demo of this folder.

    Raises:
        ClickException: none is named, or what names it can't be right; says what and what is expected.
    """
    known = dict(environ)
    demo = home_of(environ) / "demo.env"
    if "HEADWATER_URL" not in known and demo.is_file():
        known = {**read_env(demo), **known}
    missing = [
        name
        for name in ("HEADWATER_URL", "HEADWATER_WORKSPACE_ID", "HEADWATER_TOKEN")
        if not known.get(name)
    ]
    if missing:
        raise click.ClickException(
            f"{', '.join(missing)} not set, and no {demo} to read: start a hub with `headwater up`"
        )
    base = known["HEADWATER_URL"].rstrip("/")
    # else it would look like an outage, which is waited out
    if not re.match(r"https?://[^/]", base):
        raise click.ClickException(f"HEADWATER_URL is {base!r}, expected http://host:port")
    if not known["HEADWATER_TOKEN"].isprintable():
        raise click.ClickException("HEADWATER_TOKEN holds a line break or control character")
    return Hub(
        base=base if base.endswith("/hub/v1") else f"{base}/hub/v1",
        workspace_id=known["HEADWATER_WORKSPACE_ID"],
        token=known["HEADWATER_TOKEN"],
        node_id=known.get("HEADWATER_NODE_ID"),
    )


def home_of(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the hub's data."""
    return Path(environ.get("HEADWATER_HOME") or ".headwater")


def find_database_url(environ: Mapping[str, str] = os.environ) -> str:
    """The database that the environment names, else the one of the hub that runs in this folder."""
    named = PostgresSettings.from_env(environ).database_url
    if named:
        return named
    servers = home_of(environ) / SERVERS
    if servers.is_file():
        url = read_env(servers).get("HEADWATER_DATABASE_URL")
        if url:
            return url
    raise click.ClickException(
        f"no hub runs in {home_of(environ)} and HEADWATER_DATABASE_URL is not set: start one with "
        "`headwater up`, name its folder with HEADWATER_HOME, or set HEADWATER_DATABASE_URL to "
        "postgresql://user@host:port/database"
    )


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write variables in shell syntax, for their owner only, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    part.replace(path)


def read_env(path: Path) -> dict[str, str]:
    """The variables of a file in shell syntax.

    Raises:
        ClickException: it is no shell syntax.
    """
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except ValueError as exc:
        raise click.ClickException(f"{path} is no shell syntax: {exc}") from exc
    return dict(word.split("=", 1) for word in words if "=" in word)
