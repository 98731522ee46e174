"""Customers: operations 78, 80, 81, L1 and the batch. Source: contacthub 3.8, event-model 3a."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace

import orjson
from aiohttp import web

from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    CreateCustomer,
    CustomerCommand,
    DeleteCustomer,
    PatchCustomer,
    ReplaceCustomer,
)
from headwater.domain.configuration import MAX_CUSTOMER_BYTES, Role, WorkspaceConfig
from headwater.domain.ids import CustomerId
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.refusal import FieldError
from headwater.errors import Refused, Unavailable
from headwater.http.answer import empty_answer, error_body, json_answer
from headwater.http.body import as_object, parse_json, read_body
from headwater.http.caller import POSTERS, WRITERS, enter, require_role
from ingest.results import Identifiers
from ingest.write import (
    Writing,
    accept_and_wait,
    answer_write,
    begin,
    customer_id_of,
    envelope_of,
    forget_pending,
    identify,
    is_strict,
    item_error,
    judged,
    preference_applied,
    remember_pending,
    session_value_of,
)

MAX_BATCH_BYTES = 5_242_880
MAX_BATCH_ITEMS = 1_000
_UNTRUSTED_SEES = ("id", "nodeId", "version", "registeredAt", "updatedAt")


async def create_customer(request: web.Request) -> web.Response:
    """Create a customer, or merge into the one that matches; 201 either way."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, MAX_CUSTOMER_BYTES)
    session_value = session_value_of(request)
    return await _write(
        request,
        caller,
        config,
        body,
        lambda writing, ids: CreateCustomer(
            envelope=envelope_of(writing, ids),
            customer_id=CustomerId(ids.entity_id),
            body=body,
            session_value=session_value,
        ),
    )


async def patch_customer(request: web.Request) -> web.Response:
    """Change what the body names."""
    caller, config = await enter(request, write=True)
    customer_id = customer_id_of(request)
    require_role(caller, POSTERS)
    body = await read_body(request, MAX_CUSTOMER_BYTES)
    strict, session_value = is_strict(request), session_value_of(request)
    return await _write(
        request,
        caller,
        config,
        body,
        lambda writing, ids: PatchCustomer(
            envelope=envelope_of(writing, ids),
            customer_id=customer_id,
            body=body,
            strict=strict,
            session_value=session_value,
        ),
    )


async def replace_customer(request: web.Request) -> web.Response:
    """Replace the whole writable document."""
    caller, config = await enter(request, write=True)
    customer_id = customer_id_of(request)
    require_role(caller, WRITERS)
    body = await read_body(request, MAX_CUSTOMER_BYTES)
    strict, session_value = is_strict(request), session_value_of(request)
    return await _write(
        request,
        caller,
        config,
        body,
        lambda writing, ids: ReplaceCustomer(
            envelope=envelope_of(writing, ids),
            customer_id=customer_id,
            body=body,
            strict=strict,
            session_value=session_value,
        ),
    )


async def delete_customer(request: web.Request) -> web.Response:
    """Soft delete; 200 with an empty body, on which clients depend."""
    caller, config = await enter(request, write=True)
    customer_id = customer_id_of(request)
    require_role(caller, WRITERS)
    return await _write(
        request,
        caller,
        config,
        b"",
        lambda writing, ids: DeleteCustomer(
            envelope=envelope_of(writing, ids), customer_id=customer_id
        ),
    )


async def _write(
    request: web.Request,
    caller: Caller,
    config: WorkspaceConfig,
    body: bytes,
    build: Callable[[Writing, Identifiers], CustomerCommand],
) -> web.Response:
    writing = begin(request, caller, config, body)
    ids = identify(writing)
    result = await answer_write(request, writing, build(writing, ids), ids)
    if isinstance(result, web.Response):
        return result
    headers = preference_applied(writing)
    if result.body is None:
        answer = empty_answer(result.status)
        answer.headers.update(headers)
        return answer
    shown = result.body
    if Role.UNTRUSTED_APPLICATION in caller.roles:
        # a token that sits in a browser must not read a profile by merging into it
        whole = orjson.loads(shown)
        shown = orjson.dumps({name: whole[name] for name in _UNTRUSTED_SEES})
    return json_answer(shown, status=result.status, headers=headers)


async def create_customers(request: web.Request) -> web.Response:
    """A batch of POSTs; 200 after commit, with an outcome per item in request order."""
    caller, config = await enter(request, write=True)
    require_role(caller, WRITERS)
    body = await read_body(request, MAX_BATCH_BYTES)
    items = read_items(parse_json(body), "customers")
    writing = begin(request, caller, config, body)
    slots = asyncio.Semaphore(200)

    async def one(place: int, item: JsonValue) -> JsonObject:
        async with slots:
            return await _create_one(request, writing, place, item)

    results = await asyncio.gather(*(one(place, item) for place, item in enumerate(items)))
    rejected = sum(1 for result in results if result["status"] >= 400)
    if any(result["status"] == 503 for result in results):
        # some are still pending: the identical call joins them all
        raise Refused(refusals.write_still_pending())
    return json_answer(
        {
            "accepted": len(results) - rejected,
            "rejected": rejected,
            "results": list(results),
        },
        headers=preference_applied(writing),
    )


async def _create_one(
    request: web.Request, writing: Writing, place: int, item: JsonValue
) -> JsonObject:
    own_key = None
    try:
        if isinstance(item, dict):
            own_key = item_key(item, refusals.customer_not_valid)
            item = {name: value for name, value in item.items() if name != "idempotencyKey"}
        body = orjson.dumps(item)
        if len(body) > MAX_CUSTOMER_BYTES:
            raise Refused(refusals.payload_exceeds(MAX_CUSTOMER_BYTES))
        as_object(item, body, refusals.customer_not_valid)
        batch_item = "" if own_key is not None else str(place)
        ids = identify(writing, item=batch_item, key=own_key)
        command = CreateCustomer(
            envelope=envelope_of(writing, ids), customer_id=CustomerId(ids.entity_id), body=body
        )
        if own_key is not None:
            command = replace(
                command, envelope=replace(command.envelope, fingerprint=item_fingerprint(body))
            )
        verdict = judged(writing, command)
        result = await accept_and_wait(writing, command, verdict)
        if result is None:
            await remember_pending(writing, ids, batch_item)
            raise Refused(refusals.write_still_pending())
        await forget_pending(writing, batch_item)
        if result.refusal is not None:
            raise Refused(result.refusal)
    except Refused as exc:
        return item_error(exc.refusal, error_body(exc.refusal, request))
    except Unavailable:
        refusal = refusals.try_again_later()
        return item_error(refusal, error_body(refusal, request))
    return {"status": 201, "id": result.entity_id}


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
            fault = FieldError(message="property is not defined", path=f"/{member}")
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
