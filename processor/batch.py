"""The heart: what one batch of records does, in one transaction.

Decode, judge by the configuration of now, match and lock, fold, write, append to the feed, and move the
offsets; or nothing of it. Who waits is answered after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from headwater import metrics, wire
from headwater.clock import Clock, monotonic
from headwater.domain import refusal as refusals
from headwater.domain.commands import BatchKey, Command, RecordEvent
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import CustomerId, OperationId, RejectionId, WorkspaceId
from headwater.domain.outcome import Applied, Outcome, Rejected, Skipped
from headwater.domain.refusal import Refusal
from headwater.errors import ConfigMoved
from headwater.postgres.config import read_workspace_config
from headwater.postgres.customers import read_versions, take_int_ids
from headwater.postgres.events import read_event_versions
from headwater.postgres.offsets import move_offsets
from headwater.postgres.outcomes import (
    Operation,
    Rejection,
    close_rejections,
    is_rejected,
    lock_config_version,
    lock_open_rejections,
    prolong_operations,
    read_operations,
    write_operations,
    write_rejections,
)
from headwater.postgres.pool import Connection, Pool
from headwater.postgres.updates import append_updates
from headwater.validation import Validator
from processor.crash import CrashPoint, Step
from processor.decode import Decoded, decode
from processor.fold import Changes, fold
from processor.match import match, match_more
from processor.record import Batch
from processor.store import Stored, store
from processor.validate import Checked, Rights, validate

KEPT = timedelta(days=7)
"""How long the outcome of a keyed or asynchronous write is kept (contacthub 2.12)."""

KEPT_ANSWERED = timedelta(minutes=10)
"""How long the outcome of a write is kept whose client waits: it may repeat the call for 60 s."""

SLICE = 16
"""Records that are judged ahead in one go, while Postgres may have something for us: about a millisecond."""

_MISSING: object = object()


@dataclass(slots=True, kw_only=True)
class Parts:
    """What applying needs. `configs` is this process's copy; a transaction checks its version."""

    pool: Pool
    validator: Validator
    clock: Clock
    crash: CrashPoint = field(default_factory=CrashPoint)
    configs: dict[WorkspaceId, WorkspaceConfig | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)  # not frozen: half the time, one for each record
class Answer:
    """The outcome of a record, with the text of the entity that answers its client."""

    command: Command | None
    outcome: Outcome
    document: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Verdicts on a batch's records before its turn, and the configurations that they follow."""

    checked: list[Checked]
    configs: Mapping[WorkspaceId, WorkspaceConfig | None]

    def holds(self, configs: Mapping[WorkspaceId, WorkspaceConfig | None]) -> bool:
        """Whether `configs` are still those: a batch before it may have found that one has moved."""
        return all(configs.get(key, _MISSING) is config for key, config in self.configs.items())


@dataclass(slots=True, kw_only=True)
class _Work:
    """One workspace's share of a batch; `outcomes` are by position in the batch. `batches` are the keys of
    whole batch requests by their operation, with the fingerprint that came first; `new_batches` of
    them are not stored yet. `misused` are items of another request under such a key: they say nothing of
    the operations that they name.
    """

    workspace_id: WorkspaceId
    config: WorkspaceConfig | None
    positions: list[int] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    replayed: set[RejectionId] = field(default_factory=set)
    answers: dict[int, Operation] = field(default_factory=dict)
    batches: dict[OperationId, str] = field(default_factory=dict)
    new_batches: set[OperationId] = field(default_factory=set)
    misused: set[int] = field(default_factory=set)
    stored: Stored | None = None


async def judge_ahead(batch: Batch | None, parts: Parts) -> Ahead | None:
    """Decode and judge a batch, if there is one, while Postgres works on the one before it; no I/O.

    None if that can't be done yet: `apply_batch` then does it, and meets what stood in the way.
    """
    if batch is None:
        return None
    checked: list[Checked] = []
    rights: Rights = {}
    configs = dict(parts.configs)
    try:
        for start in range(0, len(batch.records), SLICE):
            decoded = decode(batch.records[start : start + SLICE])
            if any(item.workspace_id not in configs for item in decoded):
                return None
            checked += validate(decoded, configs, parts.validator, rights=rights)
            await asyncio.sleep(0)
    except Exception:  # noqa: BLE001  # whatever it is, it comes again in apply_batch, which isolates it
        return None
    return Ahead(checked=checked, configs=configs)


async def apply_batch(
    batch: Batch, parts: Parts, *, ahead: Ahead | None = None, give_up: Refusal | None = None
) -> list[Answer]:
    """Apply a batch of records exactly once.

    One transaction: effects, rejections, feed rows and consumer offsets, or nothing. With `give_up`
    nothing is tried: every record is kept as a rejection with that reason (`isolate.py`). Verdicts that
    were given `ahead` are taken while they hold.

    Raises:
        StaleConsumer: another process moved the offsets first. Drop the batch and seek again.
        ConfigMoved: a schema or policy changed meanwhile. Repeat with the new one.
        Contended: another transaction was in the way. Repeat.
        Unavailable: Postgres can't be reached. Safe to repeat: if the commit got through after all,
            repeating raises StaleConsumer.
    Source: design.md, invariants 2, 3 and 4.
    """
    now = parts.clock()
    started = monotonic()
    if ahead is not None and ahead.holds(parts.configs) and give_up is None:
        checked = ahead.checked
        parts.crash.after(Step.DECODE)
    else:
        decoded = decode(batch.records)
        parts.crash.after(Step.DECODE)
        await _load_configs(decoded, parts)
        checked = validate(decoded, parts.configs, parts.validator, rights={}, give_up=give_up)
    parts.crash.after(Step.VALIDATE)
    works = _share_out(checked, parts.configs)
    judged = metrics.STEP_SECONDS.lap(started, "judge")
    async with parts.pool.transaction() as conn:
        # first: a process that lost its partitions learns it before it does or locks anything
        await move_offsets(conn, batch.expected, batch.next_offsets)
        parts.crash.after(Step.MOVE_OFFSETS)
        for work in works:
            await _check_config_version(conn, work, parts)
            parts.crash.after(Step.CHECK_CONFIG)
            await _apply_workspace(conn, work, parts, now, give_up)
        documents = await _read_documents(conn, works)
        for work in works:  # the feeds' locks last, so that they are held shortly
            if work.stored is not None:
                await append_updates(conn, work.workspace_id, work.stored.updates)
        parts.crash.after(Step.APPEND_UPDATES)
    metrics.STEP_SECONDS.lap(judged, "transaction")
    parts.crash.after(Step.COMMIT)
    return _answers(checked, works, documents)


async def _load_configs(decoded: list[Decoded], parts: Parts) -> None:
    unknown = {item.workspace_id for item in decoded} - parts.configs.keys()
    if not unknown:
        return
    async with parts.pool.connection() as conn:
        for workspace_id in unknown:
            parts.configs[workspace_id] = await read_workspace_config(conn, workspace_id)


async def _check_config_version(conn: Connection, work: _Work, parts: Parts) -> None:
    version = await lock_config_version(conn, work.workspace_id)
    if version != (None if work.config is None else work.config.version):
        parts.configs.pop(work.workspace_id, None)
        raise ConfigMoved(f"configuration of workspace {work.workspace_id} is at {version} now")


def _share_out(
    checked: list[Checked], configs: Mapping[WorkspaceId, WorkspaceConfig | None]
) -> list[_Work]:
    works: dict[WorkspaceId, _Work] = {}
    for position, item in enumerate(checked):
        workspace_id = item.decoded.workspace_id
        work = works.get(workspace_id)
        if work is None:
            work = works[workspace_id] = _Work(
                workspace_id=workspace_id, config=configs.get(workspace_id)
            )
        work.positions.append(position)
        work.checked.append(item)
    # sorted, or two batches that share workspaces deadlock on the feeds
    return [works[workspace_id] for workspace_id in sorted(works)]


async def _apply_workspace(
    conn: Connection, work: _Work, parts: Parts, now: datetime, give_up: Refusal | None
) -> None:
    todo = await _leave_out_repeated(conn, work, now)
    parts.crash.after(Step.READ_OPERATIONS)
    valid: list[tuple[int, Checked]] = []
    for position, item in todo:
        refusal = give_up or item.refusal
        if refusal is not None:
            work.outcomes[position] = Rejected(refusal=refusal)
        else:
            valid.append((position, item))
    if valid and work.config is not None:
        commands = [item for _, item in valid]
        changes = await _match_and_fold(conn, work.config, commands, parts, now)
        for (position, _), outcome in zip(valid, changes.outcomes, strict=True):
            work.outcomes[position] = outcome
        int_ids = await _take_int_ids(work.workspace_id, changes, parts)
        parts.crash.after(Step.TAKE_INT_IDS)
        work.stored = await store(conn, work.workspace_id, changes, int_ids, parts.crash, now)
    _repeat_outcomes(work)
    await _keep_outcomes(conn, work, now)
    parts.crash.after(Step.KEEP_OUTCOMES)


async def _match_and_fold(
    conn: Connection,
    config: WorkspaceConfig,
    commands: list[Checked],
    parts: Parts,
    now: datetime,
) -> Changes:
    found = await match(conn, config.id, config, commands, now)
    parts.crash.after(Step.MATCH)
    while True:
        changes = fold(commands, found, config, now)
        parts.crash.after(Step.FOLD)
        if not changes.missing:
            return changes
        await match_more(conn, config.id, found, changes.missing, now)


async def _take_int_ids(
    workspace_id: WorkspaceId, changes: Changes, parts: Parts
) -> dict[CustomerId, int]:
    if not changes.created:
        return {}
    # On a connection of its own: the number's row must not stay locked until the batch commits. Two
    # connections held at once is safe here, as nobody who holds one of this kind waits for the other.
    async with parts.pool.connection() as numbers:
        taken = await take_int_ids(numbers, workspace_id, len(changes.created))
    return dict(zip(changes.created, taken, strict=True))


async def _leave_out_repeated(
    conn: Connection, work: _Work, now: datetime
) -> list[tuple[int, Checked]]:
    """The commands to apply; what repeats an operation gets the first one's outcome, once."""
    repeatable: set[OperationId] = set()
    for item in work.checked:
        if item.command is not None:
            envelope = item.command.envelope
            if envelope.replay_of is not None:
                work.replayed.add(envelope.replay_of)
            elif envelope.repeatable or not isinstance(item.command, RecordEvent):
                # the first call of a customer write doesn't know that it will be repeated, and comes after
                # its repetition if Kafka got it from a producer that was given up
                repeatable.add(envelope.operation_id)
                if envelope.batch is not None:
                    repeatable.add(envelope.batch.operation_id)
    known = await read_operations(conn, work.workspace_id, repeatable, now)
    still_open = await lock_open_rejections(conn, work.workspace_id, work.replayed)
    todo: list[tuple[int, Checked]] = []
    first_position: dict[OperationId, int] = {}
    for position, item in zip(work.positions, work.checked, strict=True):
        if item.command is None:
            todo.append((position, item))
            continue
        envelope = item.command.envelope
        if envelope.replay_of is not None:
            if envelope.replay_of in still_open:
                still_open.discard(envelope.replay_of)
                todo.append((position, item))
            else:
                work.outcomes[position] = Skipped()
        elif envelope.operation_id in known:
            operation = known[envelope.operation_id]
            work.outcomes[position] = _outcome_of(operation, envelope.fingerprint)
            work.answers[position] = operation
        elif envelope.batch is not None and not _is_of_first(work, envelope.batch, known):
            work.outcomes[position] = Rejected(refusal=refusals.idempotency_key_reused())
            work.misused.add(position)
        elif envelope.operation_id in first_position:
            pass  # the same call twice in one batch: answered by _repeat_outcomes
        else:
            first_position[envelope.operation_id] = position
            todo.append((position, item))
    return todo


def _is_of_first(work: _Work, batch: BatchKey, known: Mapping[OperationId, Operation]) -> bool:
    """Whether the item is of the request that used the batch's key first."""
    first = work.batches.get(batch.operation_id)
    if first is None:
        stored = known.get(batch.operation_id)
        if stored is None:
            work.new_batches.add(batch.operation_id)
        first = batch.fingerprint if stored is None else stored.fingerprint
        work.batches[batch.operation_id] = first
    return first == batch.fingerprint


def _outcome_of(operation: Operation, fingerprint: str) -> Outcome:
    if operation.fingerprint != fingerprint:
        return Rejected(refusal=refusals.idempotency_key_reused())
    if operation.state == "REJECTED" and operation.outcome is not None:
        return Rejected(refusal=wire.refusal_from_json(operation.outcome))
    return Applied(
        status=operation.http_status,
        entity_type=operation.entity_type or "",
        entity_id=operation.entity_id or operation.id,
        version=operation.entity_version,
        body=operation.outcome,
    )


def _repeat_outcomes(work: _Work) -> None:
    """Give repetitions within the batch the outcome of the first."""
    if len(work.outcomes) == len(work.positions):
        return  # as nearly always
    by_operation: dict[OperationId, tuple[str, Outcome]] = {}
    for position, item in zip(work.positions, work.checked, strict=True):
        if item.command is None or position in work.misused:
            continue
        envelope = item.command.envelope
        if position in work.outcomes:
            by_operation.setdefault(
                envelope.operation_id, (envelope.fingerprint, work.outcomes[position])
            )
            continue
        fingerprint, outcome = by_operation[envelope.operation_id]
        if fingerprint != envelope.fingerprint:
            outcome = Rejected(refusal=refusals.idempotency_key_reused())
        work.outcomes[position] = outcome


async def _keep_outcomes(conn: Connection, work: _Work, now: datetime) -> None:
    operations: dict[OperationId, Operation] = {}
    rejections: dict[UUID, Rejection] = {}
    closed: list[RejectionId] = []
    prolonged: set[OperationId] = set()
    for position, item in zip(work.positions, work.checked, strict=True):
        outcome = work.outcomes[position]
        if isinstance(outcome, Skipped):
            continue
        command = item.command
        if position in work.answers:
            if command is None or not command.envelope.answered:
                continue  # its client is told now
            prolonged.add(command.envelope.operation_id)
        elif command is not None and position not in work.misused:
            operation = _operation_of(command, outcome, now)
            if operation is not None:
                first = operations.setdefault(operation.id, operation)
                if first.expires_at < operation.expires_at:
                    operations[operation.id] = replace(first, expires_at=operation.expires_at)
        if isinstance(outcome, Rejected) and _is_kept(command, now):
            rejection = _rejection_of(item, outcome.refusal)
            if outcome.refusal.reason == refusals.idempotency_key_reused().reason and (
                rejection.id in rejections
                or await is_rejected(conn, work.workspace_id, rejection.id)
            ):
                # its id is that of the write which used the key first, and was refused too
                rejection = replace(rejection, id=RejectionId(item.decoded.position_id))
            rejections.setdefault(rejection.id, rejection)
        elif command is not None and command.envelope.replay_of is not None:
            closed.append(command.envelope.replay_of)
    for batch_id in work.new_batches:  # a key is used up once an item under it is decided
        operations[batch_id] = Operation(
            id=batch_id,
            fingerprint=work.batches[batch_id],
            state="APPLIED",
            http_status=202,
            expires_at=now + KEPT,
        )
    replayed = {
        item.command.envelope.operation_id
        for item in work.checked
        if item.command is not None and item.command.envelope.replay_of is not None
    }
    await write_operations(
        conn, work.workspace_id, list(operations.values()), replayed=replayed, now=now
    )
    await prolong_operations(conn, work.workspace_id, prolonged, now + KEPT)
    await write_rejections(conn, work.workspace_id, list(rejections.values()), now)
    await close_rejections(conn, work.workspace_id, closed)


def _operation_of(command: Command, outcome: Outcome, now: datetime) -> Operation | None:
    envelope = command.envelope
    if isinstance(command, RecordEvent) and not envelope.keyed and envelope.reply_to is None:
        return None  # nobody can ask for it: an event is followed by its own id
    kept = KEPT if envelope.keyed or envelope.answered else KEPT_ANSWERED
    match outcome:
        case Rejected(refusal=refusal):
            return Operation(
                id=envelope.operation_id,
                fingerprint=envelope.fingerprint,
                state="REJECTED",
                http_status=refusal.status,
                outcome=wire.refusal_to_json(refusal),
                expires_at=now + kept,
            )
        case Applied():
            body = outcome.body if outcome.entity_type == "SESSION" else None
            return Operation(
                id=envelope.operation_id,
                fingerprint=envelope.fingerprint,
                state="APPLIED",
                http_status=outcome.status,
                entity_type=outcome.entity_type,
                entity_id=outcome.entity_id,
                entity_version=outcome.version,
                outcome=body,
                expires_at=now + kept,
            )
        case Skipped():
            return None


def _is_kept(command: Command | None, now: datetime) -> bool:
    """Whether a refusal becomes a rejection: nobody reads it in an answer (contacthub 2.12)."""
    if command is None:
        return True
    envelope = command.envelope
    if envelope.answered or envelope.reply_to is None or envelope.replay_of is not None:
        return True
    return envelope.answer_by is not None and now >= envelope.answer_by


def _rejection_of(item: Checked, refusal: Refusal) -> Rejection:
    command = item.command
    record = item.decoded.record
    if command is None:
        rejection_id, received_at, caller = item.decoded.position_id, record.written_at, None
    else:
        envelope = command.envelope
        own = command.event_id if isinstance(command, RecordEvent) else envelope.operation_id
        rejection_id = envelope.replay_of or own
        received_at, caller = envelope.accepted_at, envelope.caller
    return Rejection(
        id=RejectionId(rejection_id),
        entity_type="EVENT" if isinstance(command, RecordEvent) else "CUSTOMER",
        type=_type_of(item) if isinstance(command, RecordEvent) else None,
        node_id=None if item.node is None else item.node.id,
        reason=refusal.reason,
        status=refusal.status,
        message=refusal.message,
        errors=[{"message": error.message, "path": error.path} for error in refusal.errors],
        caller=caller,
        received_at=received_at,
        envelope=wire.header_of(record.headers),
        payload=record.value,
    )


def _type_of(item: Checked) -> str | None:
    if item.document is not None:
        named = item.document.get("type")
    else:
        try:
            body = orjson.loads(item.decoded.record.value)
        except orjson.JSONDecodeError:
            return None
        named = body.get("type") if isinstance(body, dict) else None
    return named if isinstance(named, str) and "\x00" not in named else None


async def _read_documents(conn: Connection, works: list[_Work]) -> dict[tuple[UUID, int], str]:
    """The documents that answer: those just written, and the versions that had no change."""
    documents: dict[tuple[UUID, int], str] = {}
    for work in works:
        if work.stored is not None:
            documents.update(work.stored.documents)
        older: set[tuple[UUID, int]] = set()
        events: set[tuple[UUID, int]] = set()
        for outcome in work.outcomes.values():
            if (
                isinstance(outcome, Applied)
                and outcome.version is not None
                and outcome.body is None
            ):
                key = (outcome.entity_id, outcome.version)
                if outcome.entity_type == "EVENT":  # known, or it had a body
                    events.add(key)
                elif key not in documents:
                    older.add(key)
        documents.update(await read_versions(conn, work.workspace_id, list(older)))
        documents.update(await read_event_versions(conn, work.workspace_id, list(events)))
    return documents


def _answers(
    checked: list[Checked], works: list[_Work], documents: dict[tuple[UUID, int], str]
) -> list[Answer]:
    outcomes = {position: outcome for work in works for position, outcome in work.outcomes.items()}
    answers = []
    for position, item in enumerate(checked):
        outcome = outcomes[position]
        document = None
        if isinstance(outcome, Applied) and item.command and item.command.envelope.reply_to:
            if outcome.body is not None:
                document = orjson.dumps(outcome.body).decode()
            elif outcome.version is not None:
                document = documents.get((outcome.entity_id, outcome.version))
        answers.append(Answer(command=item.command, outcome=outcome, document=document))
    return answers
