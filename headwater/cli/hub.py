"""Where the hub is, for the commands that use its public API."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click


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
    """The hub that the environment names, else the demo of this folder."""
    known = dict(environ)
    home = Path(environ.get("HEADWATER_HOME", ".headwater"))
    demo = home / "demo.env"
    if "HEADWATER_URL" not in known and demo.is_file():
        known |= _read_env(demo)
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
    return Hub(
        base=base if base.endswith("/hub/v1") else f"{base}/hub/v1",
        workspace_id=known["HEADWATER_WORKSPACE_ID"],
        token=known["HEADWATER_TOKEN"],
        node_id=known.get("HEADWATER_NODE_ID"),
    )


def _read_env(path: Path) -> dict[str, str]:
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)
