"""Who calls: a bearer token becomes a `Caller`.

The token's owner is remembered; what the owner may do is read from the cached configuration at each
request, so that a disabled source or a new token counts within a second, and known tokens go on
working while Postgres is away.

Tokens are looked up by their SHA-256. That takes no constant time and need not: who guesses can't choose what a
digest begins with, so how long a miss takes tells nothing of a token. What is compared is compared in
constant time all the same.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from headwater.configuration import ConfigCache
from headwater.domain.configuration import (
    Permission,
    Role,
    Source,
    User,
    WorkspaceConfig,
)
from headwater.domain.ids import NodeId, WorkspaceId
from headwater.postgres.config import TokenOwner, find_token_owner, hash_token
from headwater.postgres.pool import Pool
from headwater.singleflight import SingleFlight

REMEMBERED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request. `name` is the source's id, or `user:<id>`.

    `readable` and `writable` are nodes; None means all of the workspace.
    """

    name: str
    roles: frozenset[Role]
    workspace_id: WorkspaceId | None
    readable: frozenset[NodeId] | None
    writable: frozenset[NodeId] | None
    user_id: int | None = None

    def may_read(self, node_id: NodeId) -> bool:
        return self.readable is None or node_id in self.readable

    def may_write(self, node_id: NodeId) -> bool:
        return self.writable is None or node_id in self.writable

    @property
    def is_source(self) -> bool:
        return self.user_id is None

    @property
    def is_operator(self) -> bool:
        return Role.CLAB_OPERATOR in self.roles


class Authenticator:
    """Tokens to callers, with a cache of whose they are."""

    def __init__(self, pool: Pool, configs: ConfigCache) -> None:
        self._pool = pool
        self._configs = configs
        self._owners: OrderedDict[bytes, tuple[TokenOwner, int]] = OrderedDict()
        self._callers: dict[bytes, tuple[WorkspaceConfig, Caller]] = {}
        """Callers as a configuration made them; good for as long as that one is cached."""
        self._finding: SingleFlight[Caller | None] = SingleFlight()

    @property
    def known(self) -> int:
        """How many tokens are remembered."""
        return len(self._owners)

    def known_caller(self, token: str) -> Caller | None:
        """The caller if the cache is enough to tell; such a one may call from any address."""
        known = self._callers.get(hash_token(token))
        if known is not None and self._configs.cached(known[0].id) is known[0]:
            return known[1]
        return None

    async def caller_of(self, token: str, remote: str | None) -> Caller | None:
        """The caller that presents `token` from the address `remote`; None if nobody may.

        For those that `known_caller` doesn't tell. A crowd that comes back to a process which has just started
        asks once.

        Raises:
            Unavailable: the token is not known yet and Postgres is away.
        """
        token_hash = hash_token(token)
        return await self._finding.ask(
            (token_hash, remote), lambda: self._find_caller(token_hash, remote)
        )

    def is_finding(self, token: str, remote: str | None) -> bool:
        """Whether `caller_of` is at work on this already, so that to join costs nothing."""
        return (hash_token(token), remote) in self._finding

    async def _find_caller(self, token_hash: bytes, remote: str | None) -> Caller | None:
        is_new = token_hash not in self._owners
        owner = await self._owner_of(token_hash)
        if owner is None:
            return None
        if owner.workspace_id is None:
            return Caller(
                name=f"user:{owner.user_id}",
                roles=owner.roles,
                workspace_id=None,
                readable=None,
                writable=None,
                user_id=owner.user_id,
            )
        config = await self._configs.of(owner.workspace_id)
        caller = None if config is None else _caller(owner, config, token_hash, remote)
        if caller is None and is_new:
            # another process may have made this token just now: a client may use it at once
            config = await self._configs.present(owner.workspace_id)
            caller = None if config is None else _caller(owner, config, token_hash, remote)
        if caller is None:
            # it may have been given a new token: ask again at the next request
            self._owners.pop(token_hash, None)
            self._callers.pop(token_hash, None)
        elif config is not None and not _depends_on_address(owner, config):
            if len(self._callers) >= REMEMBERED:
                self._callers.clear()
            self._callers[token_hash] = (config, caller)
        return caller

    async def _owner_of(self, token_hash: bytes) -> TokenOwner | None:
        known = self._owners.get(token_hash)
        if known is not None:
            owner, platform_version = known
            if owner.workspace_id is not None or platform_version == self._configs.platform_version:
                return owner
        platform_version = self._configs.platform_version
        async with self._pool.connection() as conn:
            found = await find_token_owner(conn, token_hash)
        if found is None:
            self._owners.pop(token_hash, None)
            return None
        self._owners[token_hash] = (found, platform_version)
        if len(self._owners) > REMEMBERED:
            self._owners.popitem(last=False)
        return found


def _depends_on_address(owner: TokenOwner, config: WorkspaceConfig) -> bool:
    source = None if owner.source_id is None else config.sources.get(owner.source_id)
    return source is not None and bool(source.allowed_ips)


def _caller(
    owner: TokenOwner, config: WorkspaceConfig, token_hash: bytes, remote: str | None
) -> Caller | None:
    if owner.source_id is not None:
        source = config.sources.get(owner.source_id)
        if source is None or not source.enabled:
            return None
        if not hmac.compare_digest(source.token_hash, token_hash):
            return None
        if source.allowed_ips and not _is_allowed(remote, source):
            return None
        return Caller(
            name=str(source.id),
            roles=frozenset({source.role}),
            workspace_id=config.id,
            readable=source.nodes,
            writable=source.nodes,
        )
    user = None if owner.user_id is None else config.users.get(owner.user_id)
    if user is None or user.token_hash is None:
        return None
    if not hmac.compare_digest(user.token_hash, token_hash):
        return None
    return _caller_of_user(user, config)


def _caller_of_user(user: User, config: WorkspaceConfig) -> Caller:
    everything = Role.ADMIN in user.roles
    readable = frozenset(n for n, right in user.nodes.items() if right != Permission.W)
    writable = frozenset(n for n, right in user.nodes.items() if right != Permission.R)
    return Caller(
        name=f"user:{user.id}",
        roles=user.roles,
        workspace_id=config.id,
        readable=None if everything else readable,
        writable=None if everything else writable,
        user_id=user.id,
    )


def find_network(text: str) -> IPv4Network | IPv6Network | None:
    """The address or network (CIDR) that `text` names, else None; IPv4 inside IPv6 as IPv4."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = None if network.version == 4 else network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((int(mapped), network.prefixlen - 96))


def forwarded_address(
    remote: str | None, forwarded: Sequence[str], trusted: Sequence[IPv4Network | IPv6Network]
) -> str | None:
    """Who calls, if `remote` connects and the headers `forwarded` (`X-Forwarded-For`) say for whom.

    Each proxy adds at the end who has connected to it, so only what a trusted one has added is believed, from the end
    to the first address that is no such proxy's. None if what a trusted one has added is no address.
    """
    hops = ",".join(forwarded).split(",") if forwarded else []
    address = remote
    while hops and _is_within(address, trusted):
        address = hops.pop().strip()
    return address if _find_address(address) is not None else None


def _find_address(text: str | None) -> IPv4Address | IPv6Address | None:
    # a server that listens on IPv6 sees its IPv4 clients as ::ffff:1.2.3.4
    network = find_network((text or "").partition("%")[0])
    return network.network_address if network is not None and network.num_addresses == 1 else None


def _is_within(text: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = _find_address(text)
    return address is not None and any(address in network for network in networks)


def _is_allowed(remote: str | None, source: Source) -> bool:
    networks = [find_network(text) for text in source.allowed_ips]
    return _is_within(remote, [network for network in networks if network is not None])
