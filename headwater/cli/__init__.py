"""The `headwater` command line."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import UUID

import click

from headwater.cli.doctor import doctor
from headwater.cli.feed import feed
from headwater.cli.load import load
from headwater.cli.provision import make_node, make_source, make_workspace
from headwater.cli.tail import tail
from headwater.cli.up import up
from headwater.domain.configuration import CustomerPolicy
from headwater.domain.ids import NodeId, WorkspaceId
from headwater.embedded.jars import fetch_jars
from headwater.errors import HubError, Refused
from headwater.postgres.migrate import migrate


class _Commands(click.Group):
    """Our own errors become one line; everything else keeps its trace."""

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


def _database_url() -> str:
    url = os.environ.get("HEADWATER_DATABASE_URL")
    if not url:
        raise click.ClickException(
            "HEADWATER_DATABASE_URL is not set, expected postgresql://user@host:port/database"
        )
    return url


@main.command()
def fetch() -> None:
    """Fetch Kafka's jars into the cache, once."""
    click.echo(f"{len(fetch_jars())} jars of Kafka are there")


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database of HEADWATER_DATABASE_URL to the present schema."""
    applied = asyncio.run(migrate(_database_url()))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to do")


def _service(name: str, module: str, purpose: str) -> None:
    @main.command(name, help=f"Run one service: {purpose}. Settings come from HEADWATER_*.")
    def run() -> None:
        os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  # no shell is wanted


_service("ingest", "ingest", "the front door")
_service("processor", "processor", "the consumers that apply writes")
_service("stream-api", "stream_api", "the feed and all reads")
_service("control-api", "control_api", "the configuration")


@main.group()
def workspace() -> None:
    """Workspaces, straight in the database."""


@workspace.command("create")
@click.argument("name")
@click.option("--slug", required=True, help="Unique short name: a-z, 0-9 and -.")
@click.option("--group", "group_pk", type=int, default=1, show_default=True)
@click.option("--policy", type=click.Choice([p.value for p in CustomerPolicy]), default="MERGE",
              show_default=True, help="What a POST does that matches.")  # fmt: skip
def create_workspace_command(name: str, slug: str, group_pk: int, policy: str) -> None:
    """Create a workspace; prints its id."""
    made = make_workspace(_database_url(), name, slug, group_pk, CustomerPolicy(policy))
    click.echo(str(asyncio.run(made)))


@main.group()
def node() -> None:
    """Entry nodes, straight in the database."""


@node.command("create")
@click.argument("name")
@click.option("--workspace", "workspace_id", type=click.UUID, required=True)
@click.option("--unique", multiple=True, default=("externalId",), show_default=True,
              help="Property that identifies a customer; repeatable.")  # fmt: skip
@click.option("--case-sensitive", is_flag=True)
def create_node_command(
    name: str, workspace_id: UUID, unique: tuple[str, ...], case_sensitive: bool
) -> None:
    """Create an entry node; prints its id."""
    made = make_node(_database_url(), WorkspaceId(workspace_id), name, unique, case_sensitive)
    click.echo(str(asyncio.run(made)))


@main.group()
def source() -> None:
    """Sources and their tokens, straight in the database."""


@source.command("create")
@click.argument("name")
@click.option("--workspace", "workspace_id", type=click.UUID, required=True)
@click.option("--node", "nodes", type=click.UUID, multiple=True, required=True,
              help="Node that the source may use; repeatable.")  # fmt: skip
@click.option("--untrusted", is_flag=True, help="For a browser: it only writes.")
def create_source_command(
    name: str, workspace_id: UUID, nodes: tuple[UUID, ...], untrusted: bool
) -> None:
    """Create a source; prints its id and its token, which is shown only now."""
    made = make_source(
        _database_url(), WorkspaceId(workspace_id), name, [NodeId(n) for n in nodes], untrusted
    )
    source_id, token = asyncio.run(made)
    click.echo(f"{source_id}\n{token}")


main.add_command(up)
main.add_command(doctor)
main.add_command(tail)
main.add_command(feed)
main.add_command(load)
