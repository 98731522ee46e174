"""Customers: operations 78, 80, 81, L1 and the batch. Source: contacthub 3.8, event-model 3a."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import orjson
from aiohttp import web

from headwater import wire
from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    CreateCustomer,
    CustomerCommand,
    DeleteCustomer,
    PatchCustomer,
    ReplaceCustomer,
)
from headwater.domain.configuration import MAX_CUSTOMER_BYTES, Role
from headwater.domain.ids import CustomerId
from headwater.domain.json import JsonObject
from headwater.errors import Refused, Unavailable
from headwater.http.answer import empty_answer, json_answer
from headwater.http.body import read_body
from headwater.http.caller import POSTERS, WRITERS, enter, require_role
from headwater.judge import Judged
from ingest.batch import (
    Item,
    SentItem,
    accept_and_wait_for_items,
    accept_items,
    batch_answer,
    good_item,
    item_fingerprint,
    item_ids,
    item_result,
    judge_items,
    keys_claimed,
    leave_items_waiting,
    read_batch,
    read_item,
    split_batch,
)
from ingest.precedence import about_customer
from ingest.results import Identifiers
from ingest.write import (
    Writing,
    answer_write,
    begin,
    envelope_of,
    forget_pending,
    identify,
    is_strict,
    judged,
    preference_applied,
    remember_pending,
    remember_unsure,
    session_value_of,
)

_UNTRUSTED_SEES = ("id", "nodeId", "version", "registeredAt", "updatedAt")


async def create_customer(request: web.Request) -> web.Response:
    """Create a customer, or merge into the one that matches; 201 either way."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, MAX_CUSTOMER_BYTES)
    session_value = session_value_of(request)
    writing = begin(request, caller, config, body)
    ids = identify(writing)
    command = CreateCustomer(
        envelope=envelope_of(writing, ids),
        customer_id=CustomerId(ids.entity_id),
        body=body,
        session_value=session_value,
    )
    return await _answer(request, writing, command, judged(writing, command), ids)


async def patch_customer(request: web.Request) -> web.Response:
    """Change what the body names."""
    return await _change(request, PatchCustomer)


async def replace_customer(request: web.Request) -> web.Response:
    """Replace the whole writable document."""
    return await _change(request, ReplaceCustomer)


async def _change(
    request: web.Request, kind: type[PatchCustomer | ReplaceCustomer]
) -> web.Response:
    caller, config = await enter(request, write=True)
    async with about_customer(request, caller, config) as customer_id:
        require_role(caller, POSTERS if kind is PatchCustomer else WRITERS)
        body = await read_body(request, MAX_CUSTOMER_BYTES)
        strict, session_value = is_strict(request), session_value_of(request)
        writing = begin(request, caller, config, body)
        ids = identify(writing)
        command = kind(
            envelope=envelope_of(writing, ids),
            customer_id=customer_id,
            body=body,
            strict=strict,
            session_value=session_value,
        )
        verdict = judged(writing, command)
    return await _answer(request, writing, command, verdict, ids)


async def delete_customer(request: web.Request) -> web.Response:
    """Soft delete; 200 with an empty body, on which clients depend."""
    caller, config = await enter(request, write=True)
    async with about_customer(request, caller, config) as customer_id:
        require_role(caller, WRITERS)
        writing = begin(request, caller, config, b"")
        ids = identify(writing)
        command = DeleteCustomer(envelope=envelope_of(writing, ids), customer_id=customer_id)
        verdict = judged(writing, command)
    return await _answer(request, writing, command, verdict, ids)


async def _answer(
    request: web.Request,
    writing: Writing,
    command: CustomerCommand,
    verdict: Judged,
    ids: Identifiers,
) -> web.Response:
    result = await answer_write(request, writing, command, verdict, ids)
    if isinstance(result, web.Response):
        return result
    headers = preference_applied(writing)
    if result.body is None:
        answer = empty_answer(result.status)
        answer.headers.update(headers)
        return answer
    shown = result.body
    if Role.UNTRUSTED_APPLICATION in writing.caller.roles:
        # a token that sits in a browser must not read a profile by merging into it
        whole = orjson.loads(shown)
        shown = orjson.dumps({name: whole[name] for name in _UNTRUSTED_SEES})
    return json_answer(shown, status=result.status, headers=headers)


async def create_customers(request: web.Request) -> web.Response:
    """A batch of POSTs; 200 after commit, with an outcome per item in request order.

    With `Prefer` it may be 202: items whose outcome is not known yet name their operation instead.
    """
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_batch(request)
    writing = begin(request, caller, config, body)
    sent = split_batch(request, body, "customers")
    batch = replace(identify(writing), batch=writing.batch)
    judge = partial(_judge_item, writing, batch)
    good, results = await judge_items(request, writing, sent, judge)
    pending = False
    if good:
        async with keys_claimed(request, writing, good, results) as taken:
            pending = await _apply_items(request, writing, batch, taken, results)
    if pending and writing.preference.applied is None:
        # the identical call joins them all, those that are done included: nothing is made twice
        await remember_pending(writing, batch)
        raise Refused(refusals.write_still_pending())
    await forget_pending(writing)
    return batch_answer(writing, results, 202 if pending else 200)


def _judge_item(
    writing: Writing, batch: Identifiers, place: int, sent: SentItem
) -> Item[CreateCustomer]:
    customer, body, own_key = read_item(sent, refusals.customer_not_valid)
    if len(body) > MAX_CUSTOMER_BYTES:
        raise Refused(refusals.payload_exceeds(MAX_CUSTOMER_BYTES))
    if own_key is None:
        ids = item_ids(writing, batch, place)
        envelope = envelope_of(writing, ids)
    else:
        ids = identify(writing, key=own_key)
        envelope = envelope_of(writing, ids, fingerprint=item_fingerprint(body))
    command = CreateCustomer(envelope=envelope, customer_id=CustomerId(ids.entity_id), body=body)
    return good_item(place, own_key, command, judged(writing, command, customer))


async def _apply_items(
    request: web.Request,
    writing: Writing,
    batch: Identifiers,
    good: list[Item[CreateCustomer]],
    results: list[JsonObject],
) -> bool:
    """Fill in the results of the good items; whether one is still pending."""
    try:
        if writing.preference.respond_async:
            await accept_items(writing, good)
            outcomes: list[wire.Result | None] = [None] * len(good)
        else:
            outcomes = await accept_and_wait_for_items(writing, good)
            _check_key(good, outcomes)
            if writing.preference.wait_seconds is not None:
                late = [item for item, o in zip(good, outcomes, strict=True) if o is None]
                await leave_items_waiting(writing, late)
    except Unavailable:
        # they may get there all the same: the identical call must not make them twice
        remember_unsure(writing, batch)
        raise
    for item, outcome in zip(good, outcomes, strict=True):
        pending = {"status": 202, "operationId": str(item.command.envelope.operation_id)}
        results[item.place] = item_result(request, outcome, pending)
    return None in outcomes


def _check_key(good: list[Item[CreateCustomer]], outcomes: list[wire.Result | None]) -> None:
    """The key of the request was claimed by another body at the same moment, in another process.

    Raises:
        Refused: 422; the processor has applied not one item.
    """
    reused = refusals.idempotency_key_reused()
    for item, outcome in zip(good, outcomes, strict=True):
        if outcome is not None and outcome.refusal == reused and not item.has_key:
            raise Refused(reused)
