"""`headwater workspace`, `node`, `source` and `user`: what is made straight in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import click

from headwater.cli.hub import find_database_url
from headwater.cli.provision import (
    PLATFORM_ROLES,
    USER_ROLES,
    make_node,
    make_source,
    make_user,
    make_workspace,
    revoke_user,
)
from headwater.domain.configuration import CustomerPolicy, Permission, Role
from headwater.domain.ids import NodeId, WorkspaceId, find_uuid


@click.group()
def workspace() -> None:
    """Workspaces, straight in the database: HEADWATER_DATABASE_URL, or the hub that runs here."""


@workspace.command("create")
@click.argument("name")
@click.option("--slug", required=True, help="Unique short name: a-z, 0-9 and -.")
@click.option("--group", "group_pk", type=click.IntRange(1, 2**63 - 1), default=1, show_default=True,
              help="Number of the group of workspaces that it belongs to.")  # fmt: skip
@click.option("--policy", type=click.Choice([p.value for p in CustomerPolicy]), default="MERGE",
              show_default=True, help="What a POST does that matches.")  # fmt: skip
def create_workspace_command(name: str, slug: str, group_pk: int, policy: str) -> None:
    """Create a workspace; prints its id."""
    made = make_workspace(find_database_url(), name, slug, group_pk, CustomerPolicy(policy))
    click.echo(str(asyncio.run(made)))


@click.group()
def node() -> None:
    """Entry nodes, straight in the database: HEADWATER_DATABASE_URL, or the hub that runs here."""


@node.command("create")
@click.argument("name")
@click.option("--workspace", "workspace_id", type=click.UUID, required=True,
              help="Id of the workspace.")  # fmt: skip
@click.option("--unique", multiple=True, default=("externalId",), show_default=True,
              help="Property that identifies a customer; repeatable.")  # fmt: skip
@click.option("--case-sensitive", is_flag=True, help="Tell `A` and `a` apart.")
@click.option(
    "--mandatory", multiple=True, help="Property without which a customer is refused; repeatable."
)
def create_node_command(
    name: str,
    workspace_id: UUID,
    unique: tuple[str, ...],
    case_sensitive: bool,
    mandatory: tuple[str, ...],
) -> None:
    """Create an entry node; prints its id."""
    made = make_node(
        find_database_url(),
        WorkspaceId(workspace_id),
        name,
        unique=unique,
        case_sensitive=case_sensitive,
        mandatory=mandatory,
    )
    click.echo(str(asyncio.run(made)))


@click.group()
def source() -> None:
    """Sources and their tokens, straight in the database: HEADWATER_DATABASE_URL, or the hub that runs here."""


@source.command("create")
@click.argument("name")
@click.option("--workspace", "workspace_id", type=click.UUID, required=True,
              help="Id of the workspace.")  # fmt: skip
@click.option("--node", "nodes", type=click.UUID, multiple=True, required=True,
              help="Node that the source may use; repeatable.")  # fmt: skip
@click.option("--untrusted", is_flag=True, help="For a browser: it only writes.")
def create_source_command(
    name: str, workspace_id: UUID, nodes: tuple[UUID, ...], untrusted: bool
) -> None:
    """Create a source; prints its id and its token, which is shown only now."""
    made = make_source(
        find_database_url(), WorkspaceId(workspace_id), name, [NodeId(n) for n in nodes], untrusted
    )
    source_id, token = asyncio.run(made)
    click.echo(f"{source_id}\n{token}")


class _NodeRight(click.ParamType["tuple[NodeId, Permission]"]):
    """`<node id>` or `<node id>:R|W|RW`."""

    name = "node[:R|W|RW]"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[NodeId, Permission]:
        text, _, right = value.partition(":")
        found = find_uuid(text)
        if found is None or right not in {"", *Permission}:
            self.fail(f"{value!r} is not <node id> or <node id>:R, :W or :RW", param, ctx)
        return NodeId(found), Permission(right or "RW")


def _merged(rights: Sequence[tuple[NodeId, Permission]]) -> dict[NodeId, Permission]:
    """What a user may do with each node: named twice, with :R and :W, it is both."""
    found: dict[NodeId, Permission] = {}
    for node_id, right in rights:
        found[node_id] = right if found.get(node_id, right) == right else Permission("RW")
    return found


@click.group()
def user() -> None:
    """People and their tokens, straight in the database: HEADWATER_DATABASE_URL, or the hub that runs here."""


@user.command("create")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True,
              type=click.Choice([role.value for role in (*USER_ROLES, *PLATFORM_ROLES)]),
              help="What the user may do; repeatable.")  # fmt: skip
@click.option("--workspace", "workspace_id", type=click.UUID,
              help="Id of the workspace; none for a CLAB_OPERATOR.")  # fmt: skip
@click.option("--node", "nodes", type=_NodeRight(), multiple=True,
              help="Node that the user may read (:R), write (:W) or both (:RW); repeatable.")  # fmt: skip
@click.option("--username", help="Unique name; NAME if left out.")
@click.option("--surname", help="Family name.")
@click.option("--email", help="Address.")
def create_user_command(
    name: str,
    roles: tuple[str, ...],
    workspace_id: UUID | None,
    nodes: tuple[tuple[NodeId, Permission], ...],
    username: str | None,
    surname: str | None,
    email: str | None,
) -> None:
    """Create a user; prints the id and the token, which is shown only now.

    An ADMIN has all nodes of the workspace; everybody else those that are named.
    """
    made = make_user(
        find_database_url(),
        None if workspace_id is None else WorkspaceId(workspace_id),
        name,
        roles=frozenset(Role(role) for role in roles),
        nodes=_merged(nodes),
        username=username,
        surname=surname,
        email=email,
    )
    user_id, token = asyncio.run(made)
    click.echo(f"{user_id}\n{token}")


@user.command("revoke")
@click.argument("user_id", type=click.IntRange(1, 2**31 - 1))
def revoke_user_command(user_id: int) -> None:
    """Kill the token of the user with this id, within a second."""
    asyncio.run(revoke_user(find_database_url(), user_id))
