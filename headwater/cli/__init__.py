"""The `headwater` command line.

A command's module is read when it is asked for: most of a start would be the reading of all the others.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from headwater.errors import HubError, Refused

_COMMANDS = {
    "doctor": "headwater.cli.doctor",
    "feed": "headwater.cli.feed",
    "fetch": "headwater.cli.fetch",
    "load": "headwater.cli.load",
    "migrate": "headwater.cli.migrate",
    "node": "headwater.cli.accounts",
    "source": "headwater.cli.accounts",
    "tail": "headwater.cli.tail",
    "up": "headwater.cli.up",
    "user": "headwater.cli.accounts",
    "workspace": "headwater.cli.accounts",
}
"""The modules that hold the commands, each under its own name."""


class _Commands(click.Group):
    """Our own errors become one line; everything else keeps its trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Refused as exc:
            details = "".join(f"; {e.path}: {e.message}" for e in exc.refusal.errors)
            raise click.ClickException(exc.refusal.message + details) from exc
        except HubError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Headwater: a customer data hub with one ordered update feed."""


def _service(name: str, module: str, purpose: str) -> None:
    @main.command(name, help=f"Run one service: {purpose}. Settings come from HEADWATER_*.")
    def run() -> None:
        os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  # no shell is wanted


_service("ingest", "ingest", "the front door")
_service("processor", "processor", "the consumers that apply writes")
_service("stream-api", "stream_api", "the feed and all reads")
_service("control-api", "control_api", "the configuration")
