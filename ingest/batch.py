"""What the two batches have in common: reading items, identifying them, accepting and waiting for them all.

Source: event-model 3a.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta

from headwater import wire
from headwater.domain import refusal as refusals
from headwater.domain.commands import Command
from headwater.domain.ids import mint, mint_from_digest, space_of
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.judge import Judged
from ingest.results import Identifiers
from ingest.write import Writing, no_longer_awaited, topic_and_key

MAX_BATCH_BYTES = 5_242_880
MAX_BATCH_ITEMS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A good item: its place in the request, and the command that it became."""

    place: int
    command: Command
    verdict: Judged


def read_items(value: JsonValue, name: str) -> list[JsonValue]:
    """The items of a batch.

    Raises:
        Refused: 400, no list of 1 to 1,000 items.
    """

    def refuse(error: FieldError) -> refusals.Refusal:
        return refusals.request_not_valid("source batch is not valid", error)

    if not isinstance(value, dict):
        raise Refused(refuse(FieldError(message="expected type object", path="")))
    for member in value:
        if member != name:
            fault = FieldError(message="property is not defined", path=pointer_of([member]))
            raise Refused(refuse(fault))
    items = value.get(name)
    if items is None:
        raise Refused(refuse(FieldError(message="required property is missing", path=f"/{name}")))
    if not isinstance(items, list):
        raise Refused(refuse(FieldError(message="expected type array", path=f"/{name}")))
    if not 1 <= len(items) <= MAX_BATCH_ITEMS:
        message = f"expected 1 to {MAX_BATCH_ITEMS} items, not {len(items)}"
        raise Refused(refuse(FieldError(message=message, path=f"/{name}")))
    return items


def item_key(item: JsonObject, refuse: Callable[[FieldError], refusals.Refusal]) -> str | None:
    """An item's own idempotency key."""
    key = item.get("idempotencyKey")
    if key is None:
        return None
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= 255
        or not key.isascii()
        or not key.isprintable()
    ):
        message = "expected 1 to 255 printable ASCII characters"
        raise Refused(refuse(FieldError(message=message, path="/idempotencyKey")))
    return key


def item_fingerprint(body: bytes) -> str:
    """What tells another body under the same key of an item."""
    return hashlib.sha256(body).hexdigest()[:32]


def item_ids(writing: Writing, batch: Identifiers, place: int) -> Identifiers:
    """The ids of an item, from those of its batch: who repeats or joins the batch finds its operations again."""
    workspace_id = writing.config.id
    digest = hashlib.sha512(batch.operation_id.bytes + place.to_bytes(4, "big")).digest()
    operation_id, entity_id, session_id = digest[:16], digest[16:32], digest[32:48]
    # as of single writes: the time first, so that inserts into the indexes stay local
    milliseconds = batch.entity_id.int >> 80
    named = mint(workspace_id, milliseconds, int.from_bytes(entity_id[:8], "big") >> 6)
    return replace(
        batch,
        operation_id=mint_from_digest(space_of(workspace_id, writing.caller.name), operation_id),
        entity_id=named,
        session_id=mint_from_digest(workspace_id, session_id),
    )


async def accept_items(writing: Writing, items: Sequence[Item]) -> None:
    """Accept commands that nobody waits for, in request order.

    Raises:
        Unavailable: Kafka can't take them all; some may get there.
    """
    answered = [
        replace(item.command, envelope=replace(item.command.envelope, answered=True))
        for item in items
    ]
    await _accept(writing, answered, items)


async def leave_items_waiting(writing: Writing, items: Sequence[Item]) -> None:
    """As `leave_waiting`, for items whose client is told 202.

    Raises:
        Unavailable: as `accept_items`.
    """
    await _accept(writing, [no_longer_awaited(item.command) for item in items], items)


async def accept_and_wait_for_items(
    writing: Writing, items: Sequence[Item]
) -> list[wire.Result | None]:
    """Accept commands in request order and wait for their outcomes; None where there is none in time.

    Raises:
        Unavailable: as `accept_items`.
    """
    seconds = writing.preference.wait_seconds or writing.door.settings.wait_seconds
    with ExitStack() as stack:
        commands, futures = [], []
        for item in items:
            reply_to, future = stack.enter_context(writing.door.results.expect())
            envelope = replace(
                item.command.envelope,
                reply_to=reply_to,
                answer_by=item.command.envelope.accepted_at + timedelta(seconds=seconds),
            )
            commands.append(replace(item.command, envelope=envelope))
            futures.append(future)
        await _accept(writing, commands, items)
        if futures:
            await asyncio.wait(futures, timeout=seconds)
        return [future.result() if future.done() else None for future in futures]


async def _accept(writing: Writing, commands: Sequence[Command], items: Sequence[Item]) -> None:
    by_topic: dict[str, list[tuple[Command, bytes]]] = defaultdict(list)
    for command, item in zip(commands, items, strict=True):
        topic, key = topic_and_key(command, item.verdict)
        by_topic[topic].append((command, key))
    for topic, share in by_topic.items():
        await writing.door.acceptor.accept_many(share, topic)
