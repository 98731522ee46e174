"""From a checked request to its answer: identify the write, accept it, wait for its outcome.

Source: contacthub 2.12.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import unquote_to_bytes
from uuid import UUID

from aiohttp import web

from headwater import clock, metrics, wire
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    BatchKey,
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    Envelope,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import (
    CustomerId,
    OperationId,
    find_uuid,
    mint,
    mint_from_digest,
    space_of,
)
from headwater.domain.json import JsonObject
from headwater.errors import NotSent, Refused, Unavailable
from headwater.http.answer import base_url, json_answer
from headwater.http.app import TRACING_ID
from headwater.http.keys import POOL
from headwater.http.prefer import Preference, parse_prefer
from headwater.judge import Judged, judge
from headwater.randomness import random_bits
from headwater.settings import IngestSettings
from headwater.topics import (
    CUSTOMERS,
    EVENTS,
    key_of_bring_back,
    key_of_customer,
    key_of_match,
)
from headwater.validation import Validator
from ingest.accept import Acceptor
from ingest.keys import Claims
from ingest.results import Identifiers, Results

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_NO_PREFERENCE = Preference()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the handlers of the front door have."""

    acceptor: Acceptor
    results: Results
    claims: Claims
    validator: Validator
    settings: IngestSettings


DOOR = web.AppKey("door", Door)


class Writing:
    """A request that writes: who, where, and how it wants to be answered."""

    __slots__ = (
        "_body", "_fingerprint", "_request", "caller", "config", "door", "idempotency_key", "preference",
        "tracing_id",
    )  # fmt: skip

    def __init__(
        self,
        request: web.Request,
        caller: Caller,
        config: WorkspaceConfig,
        body: bytes,
        idempotency_key: str | None,
    ) -> None:
        self.door = request.app[DOOR]
        self.caller = caller
        self.config = config
        self.tracing_id = request[TRACING_ID]
        self.preference = parse_prefer(request) if "Prefer" in request.headers else _NO_PREFERENCE
        self.idempotency_key = idempotency_key
        self._request = request
        self._body = body
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of method, target and body; made when it is asked for, most events need none."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self._request, self._body)
        return self._fingerprint

    @property
    def batch(self) -> BatchKey | None:
        """The key of the request as a whole, which the items of a batch carry."""
        if self.idempotency_key is None:
            return None
        space = space_of(self.config.id, self.caller.name)
        digest = _digest(self, "", self.idempotency_key)
        return BatchKey(
            operation_id=OperationId(mint_from_digest(space, digest[:16])),
            fingerprint=self.fingerprint,
        )


def begin(request: web.Request, caller: Caller, config: WorkspaceConfig, body: bytes) -> Writing:
    """Read what the headers say about the write.

    Raises:
        Refused: 400 for a header that can't be read.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        explanation = "expected 1 to 255 printable ASCII characters"
        raise Refused(refusals.invalid_header("Idempotency-Key", explanation))
    return Writing(request, caller, config, body, key)


def fingerprint_of(request: web.Request, body: bytes) -> str:
    """A digest of method, target and body."""
    query = "&".join(
        f"{name}={request.query[name]}" for name in ("mode", "sessionId") if name in request.query
    )
    digest = hashlib.sha256(f"{request.method} {request.path}?{query}\n".encode())
    digest.update(body)
    return digest.hexdigest()[:32]


def new_id(space: UUID) -> UUID:
    """An id that a reader can tell from one never issued in `space`."""
    return mint(space, time.time_ns() // 1_000_000, random_bits() >> 6)


def identify(writing: Writing, *, item: str = "", key: str | None = None) -> Identifiers:
    """The ids of a write: from its idempotency key, from the pending write it repeats, or new.

    `item` tells the items of a batch apart; `key` is an item's own idempotency key.
    """
    workspace_id = writing.config.id
    space = space_of(workspace_id, writing.caller.name)
    named = key if key is not None else writing.idempotency_key
    if named is not None:
        digest = _digest(writing, item, named)
        return Identifiers(
            operation_id=mint_from_digest(space, digest[:16]),
            # not from the key: what it once made lives on when the key is free again
            entity_id=new_id(workspace_id),
            session_id=new_id(workspace_id),
            repeatable=True,
            keyed=True,
            batch=writing.batch if item or key is not None else None,
        )
    pending = writing.door.results.find_pending(writing.caller.name, writing.fingerprint + item)
    if pending is not None:
        return pending
    return Identifiers(
        operation_id=new_id(space),
        entity_id=new_id(workspace_id),
        session_id=new_id(workspace_id),
        repeatable=False,
        keyed=False,
    )


def identify_event(writing: Writing, *, item: str = "", key: str | None = None) -> Identifiers:
    """As `identify`, for an event: it needs one id, and a repetition without a key is a second event.

    It is answered before anybody asks what its key has made, so its id always belongs to the key.
    """
    named = key if key is not None else writing.idempotency_key
    if named is not None:
        digest = _digest(writing, item, named)
        own = mint_from_digest(writing.config.id, digest[16:32])
        return replace(identify(writing, item=item, key=key), entity_id=own)
    own = new_id(writing.config.id)
    return Identifiers(
        operation_id=own, entity_id=own, session_id=own, repeatable=False, keyed=False
    )


def _digest(writing: Writing, item: str, key: str) -> bytes:
    named = f"{writing.caller.name}\n{item}\n{key}".encode()
    return hashlib.sha512(writing.config.id.bytes + named).digest()


def envelope_of(
    writing: Writing,
    ids: Identifiers,
    *,
    answered: bool = False,
    accepted_at: datetime | None = None,
    fingerprint: str | None = None,
) -> Envelope:
    """The envelope of a write that nobody waits for yet, or (`answered`) ever.

    `fingerprint` is an item's own, if it has a key of its own.
    """
    if fingerprint is None:
        # without a key nobody compares it
        fingerprint = writing.fingerprint if ids.keyed or not answered else ""
    return Envelope(
        workspace_id=writing.config.id,
        operation_id=OperationId(ids.operation_id),
        caller=writing.caller.name,
        accepted_at=accepted_at or clock.now(),
        tracing_id=writing.tracing_id,
        fingerprint=fingerprint,
        repeatable=ids.repeatable,
        keyed=ids.keyed,
        answered=answered,
        batch=ids.batch,
    )


def judged(writing: Writing, command: Command, parsed: JsonObject | None = None) -> Judged:
    """The front door's own verdict. `parsed` is the body if it was read already.

    Raises:
        Refused: with the refusal.
    """
    caller = writing.caller
    nodes = caller.writable if caller.is_source else None
    # of an event only the name of its person is needed here: the processor judges again, and normalises
    verdict = judge(
        command, writing.config, nodes, writing.door.validator, parsed, normalised=False
    )
    if verdict.refusal is not None:
        raise Refused(verdict.refusal)
    if nodes is None and verdict.node is not None and not caller.may_write(verdict.node.id):
        # from a source the node is hidden; a user is told that a right is missing
        raise Refused(refusals.permission_missing())
    return verdict


def topic_and_key(command: Command, verdict: Judged) -> tuple[str, bytes]:
    """Where the command goes, and what must stay in order with it (`headwater/topics.py`)."""
    workspace_id = command.envelope.workspace_id
    match command:
        case RecordEvent():
            assert verdict.document is not None
            bring_back = verdict.document.get("bringBackProperties")
            if bring_back is None:
                named = verdict.document["customerId"]
                return EVENTS, workspace_id.bytes + named.lower().encode()
            assert verdict.node is not None
            key = key_of_bring_back(
                workspace_id, verdict.node.id, bring_back["type"], bring_back["value"]
            )
            return EVENTS, key
        case CreateCustomer():
            if verdict.match_value is not None and verdict.node is not None:
                key = key_of_match(workspace_id, verdict.node.id, verdict.match_value)
                return CUSTOMERS, key
            return CUSTOMERS, key_of_customer(workspace_id, command.customer_id)
        case PatchCustomer() | ReplaceCustomer() | DeleteCustomer() | CreateSession():
            return CUSTOMERS, key_of_customer(workspace_id, command.customer_id)


async def accept_and_wait(
    writing: Writing, command: Command, verdict: Judged
) -> wire.Result | None:
    """Accept a command and wait for its outcome; None if there is none in time.

    Raises:
        Unavailable: Kafka can't take it.
    """
    seconds = writing.preference.wait_seconds or writing.door.settings.wait_seconds
    topic, key = topic_and_key(command, verdict)
    with writing.door.results.expect(writing.config.id) as (reply_to, future):
        waiting = replace(
            command.envelope,
            reply_to=reply_to,
            answer_by=command.envelope.accepted_at + timedelta(seconds=seconds),
        )
        await writing.door.acceptor.accept(replace(command, envelope=waiting), topic, key)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None


def no_longer_awaited(command: Command) -> Command:
    """The command once more, after its client has waited in vain and before it is told 202.

    The first one may be decided by now, for a client that waits: its outcome is kept for a short time, and a
    refusal would be told to nobody. Behind it on its partition, this one changes both.
    """
    return replace(command, envelope=replace(command.envelope, answered=True, repeatable=True))


async def leave_waiting(writing: Writing, command: Command, verdict: Judged) -> None:
    """See to it that the outcome is kept for a client that is told 202 now.

    Raises:
        Unavailable: Kafka can't take it.
    """
    await writing.door.acceptor.accept(no_longer_awaited(command), *topic_and_key(command, verdict))


async def answer_write(
    request: web.Request, writing: Writing, command: Command, verdict: Judged, ids: Identifiers
) -> wire.Result | web.Response:
    """Accept, and wait as the client prefers; a response if it is to be asked for later.

    Raises:
        Refused: what the processor says; 503 if the write is still pending.
        Unavailable: Kafka can't take it. The identical call joins it, should it get there all the same.
    """
    try:
        return await _answer_write(request, writing, command, verdict, ids)
    except NotSent:
        raise
    except Unavailable:
        remember_unsure(writing, ids)
        raise


async def _answer_write(
    request: web.Request, writing: Writing, command: Command, verdict: Judged, ids: Identifiers
) -> wire.Result | web.Response:
    if writing.preference.respond_async:
        answered = replace(command, envelope=replace(command.envelope, answered=True))
        topic, key = topic_and_key(command, verdict)
        async with key_claimed(request, writing):
            await writing.door.acceptor.accept(answered, topic, key)
        return asynchronous(request, writing, ids)
    result = await accept_and_wait(writing, command, verdict)
    if result is None:
        if writing.preference.wait_seconds is not None:
            await leave_waiting(writing, command, verdict)
            return asynchronous(request, writing, ids)
        await remember_pending(writing, ids)
        raise Refused(refusals.write_still_pending())
    await forget_pending(writing)
    if result.refusal is not None:
        raise Refused(_as_named(result.refusal, request))
    return result


def _as_named(refusal: refusals.Refusal, request: web.Request) -> refusals.Refusal:
    """An unknown customer in the spelling of the path, as reads tell it: the processor has its id alone."""
    text = request.match_info.get("customerId")
    if text is None:
        return refusal
    unknown = refusals.entity_not_found("customer", text)
    return unknown if refusal.reason == unknown.reason else refusal


def remember_unsure(writing: Writing, ids: Identifiers) -> None:
    """Kafka did not acknowledge, yet may have the write: its repetition here is no second one."""
    writing.door.results.remember_pending(
        writing.caller.name, writing.fingerprint, replace(ids, repeatable=True)
    )


@asynccontextmanager
async def key_claimed(request: web.Request, writing: Writing) -> AsyncIterator[None]:
    """Accept the write in here; if that fails its key is free again.

    Raises:
        Refused: 422, the key was used with another body.
    """
    key = writing.batch
    if key is None:
        yield
        return
    wanted: dict[UUID, str] = {key.operation_id: key.fingerprint}
    claims = writing.door.claims
    if await claims.claim(request.app[POOL], writing.config.id, wanted):
        raise Refused(refusals.idempotency_key_reused())
    try:
        yield
    except BaseException:
        claims.release(wanted)
        raise


async def remember_pending(writing: Writing, ids: Identifiers, item: str = "") -> None:
    """The identical call of the next minute joins this write."""
    results = writing.door.results
    raw = results.remember_pending(
        writing.caller.name, writing.fingerprint + item, replace(ids, repeatable=True)
    )
    await writing.door.acceptor.announce(raw)


async def forget_pending(writing: Writing, item: str = "") -> None:
    """The write has its outcome; an identical call from now on is a new write."""
    results = writing.door.results
    raw = results.forget_pending(writing.caller.name, writing.fingerprint + item)
    if raw is not None:
        await writing.door.acceptor.announce(raw)


def asynchronous(request: web.Request, writing: Writing, ids: Identifiers) -> web.Response:
    """202 with where to ask for the outcome."""
    path = f"/hub/v1/workspaces/{writing.config.id}/operations/{ids.operation_id}"
    return json_answer(
        {"operationId": str(ids.operation_id)},
        status=202,
        headers={"Location": base_url(request) + path, **preference_applied(writing)},
    )


def preference_applied(writing: Writing) -> dict[str, str]:
    applied = writing.preference.applied
    return {} if applied is None else {"Preference-Applied": applied}


def customer_id_of(request: web.Request) -> CustomerId:
    """The customer of the path.

    Raises:
        Refused: 404, also for what is no UUID.
    """
    text = request.match_info["customerId"]
    found = find_uuid(text)
    if found is None:
        raise Refused(refusals.entity_not_found("customer", text))
    return CustomerId(found)


def is_strict(request: web.Request) -> bool:
    """`mode=STRICT`."""
    mode = request.query.get("mode")
    if mode not in {None, "", "null", "STRICT"}:
        raise Refused(refusals.invalid_parameter("mode", f"{mode!r} is not STRICT"))
    return mode == "STRICT"


def session_value_of(request: web.Request) -> str | None:
    """`sessionId`: 1 to 255 characters.

    Raises:
        Refused: 400 `invalid parameter sessionId`.
    """
    value = request.query.get("sessionId")
    if value is None:
        return None
    if "\ufffd" in value and not _is_utf8(request.rel_url.raw_query_string):
        # every byte that can't be read is U+FFFD: the sessions of different visitors would be one
        raise Refused(refusals.invalid_parameter("sessionId", "expected UTF-8"))
    if not 1 <= len(value) <= 255 or "\x00" in value:
        explanation = "expected 1 to 255 characters"
        raise Refused(refusals.invalid_parameter("sessionId", explanation))
    return value


def _is_utf8(raw_query: str) -> bool:
    try:
        unquote_to_bytes(raw_query).decode()
    except UnicodeDecodeError:
        return False
    return True


def item_error(refusal: refusals.Refusal, error: JsonObject) -> JsonObject:
    """A refused item of a batch."""
    metrics.ITEMS_REFUSED.inc(refusal.reason)
    return {"status": refusal.status, "error": error}
