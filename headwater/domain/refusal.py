"""Every refusal that a client can read, by name: status, stable reason, exact sentence.

The sentences are part of the wire (contacthub 2.4); both the front door and the processor take them
from here, so that a write is refused in the same words wherever it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.domain.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One fault of a request: a sentence and the JSON Pointer of the member meant.

    `path` is "" for the whole body and `/<parameter>` for a query parameter.
    """

    message: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request or a write is refused.

    `reason` is the stable word for machines (rejections are filtered by it), `message` the sentence of
    the wire, `data` only for the conflict between customers.
    """

    status: int
    reason: str
    message: str
    errors: tuple[FieldError, ...] = ()
    data: JsonObject | None = None
    retry_after_seconds: int | None = None
    headers: tuple[tuple[str, str], ...] = field(default=())


def customer_not_valid(*errors: FieldError) -> Refusal:
    return Refusal(
        status=400,
        reason="customer_not_valid",
        message="source customer is not valid",
        errors=errors,
    )


def event_not_valid(*errors: FieldError) -> Refusal:
    return Refusal(
        status=400, reason="event_not_valid", message="source event is not valid", errors=errors
    )


def request_not_valid(message: str, *errors: FieldError) -> Refusal:
    """A 400 of a body that is neither customer nor event, as a session or a node."""
    return Refusal(status=400, reason="request_not_valid", message=message, errors=errors)


def malformed_json(explanation: str = "") -> Refusal:
    errors = (FieldError(message=explanation, path=""),) if explanation else ()
    return Refusal(status=400, reason="malformed_json", message="malformed JSON", errors=errors)


def malformed_request(explanation: str = "") -> Refusal:
    """What is no HTTP request."""
    errors = (FieldError(message=explanation, path=""),) if explanation else ()
    return Refusal(
        status=400, reason="malformed_request", message="malformed request", errors=errors
    )


def expectation_failed() -> Refusal:
    """An `Expect` header that asks for something else than `100-continue`."""
    return Refusal(status=417, reason="expectation_failed", message="Expectation Failed")


def invalid_parameter(name: str, explanation: str, pointer: str = "") -> Refusal:
    return Refusal(
        status=400,
        reason="invalid_parameter",
        message=f"invalid parameter {name}",
        errors=(FieldError(message=explanation, path=f"/{name}{pointer}"),),
    )


def invalid_header(name: str, explanation: str) -> Refusal:
    return Refusal(
        status=400,
        reason="invalid_header",
        message=f"invalid header {name}",
        errors=(FieldError(message=explanation, path=""),),
    )


def not_authorized() -> Refusal:
    return Refusal(
        status=401,
        reason="not_authorized",
        message="The client is not authorized to access the API",
    )


def workspace_not_found(workspace_id: str) -> Refusal:
    return Refusal(
        status=403,
        reason="workspace_not_found",
        message=f"workspace not found: {workspace_id}",
    )


def workspace_suspended(workspace_id: str) -> Refusal:
    return Refusal(
        status=403,
        reason="workspace_suspended",
        message=f"workspace suspended: {workspace_id}",
    )


def permission_missing() -> Refusal:
    return Refusal(
        status=403,
        reason="permission_missing",
        message="You don't have the necessary permissions for the resource",
    )


def route_not_found() -> Refusal:
    return Refusal(status=404, reason="route_not_found", message="Not Found")


def method_not_supported(method: str) -> Refusal:
    return Refusal(
        status=405,
        reason="method_not_supported",
        message=f"Request method '{method}' not supported",
    )


def node_not_found(node_id: str) -> Refusal:
    return Refusal(status=404, reason="node_not_found", message=f"node not found {node_id}")


def entity_not_found(kind: str, entity_id: str) -> Refusal:
    """`kind` as in contacthub 2.4: customer, event, session, source, operation, rejection, ..."""
    return Refusal(
        status=404,
        reason=f"{kind.replace(' ', '_')}_not_found",
        message=f"{kind} not found {entity_id}",
    )


def request_timeout(what: str, seconds: float) -> Refusal:
    """`what` of the request did not come in time; nothing was done."""
    error = FieldError(message=f"{what} took longer than {seconds:g} s", path="")
    return Refusal(status=408, reason="request_timeout", message="request timeout", errors=(error,))


def conflict_with_customer(customer_id: str) -> Refusal:
    """The key belongs to another customer. The misspelling is part of the protocol.

    `data` names the customer by id; the front door adds the `href`, which depends on the request.
    """
    return Refusal(
        status=409,
        reason="customer_conflict",
        message=f"Conflict with exiting customer {customer_id}",
        data={"customer": {"id": customer_id}},
    )


def conflict(explanation: str) -> Refusal:
    return Refusal(status=409, reason="conflict", message=f"Conflict: {explanation}")


def payload_exceeds(limit_bytes: int) -> Refusal:
    return Refusal(
        status=413, reason="payload_exceeds", message=f"payload exceeds {limit_bytes} bytes"
    )


def media_type_not_supported(media_type: str, expected: str) -> Refusal:
    return Refusal(
        status=415,
        reason="media_type_not_supported",
        message=f"media type {media_type} not supported, expected {expected}",
    )


def idempotency_key_reused() -> Refusal:
    return Refusal(status=422, reason="idempotency_key_reused", message="idempotency key reused")


def try_again_later() -> Refusal:
    return Refusal(
        status=503, reason="try_again_later", message="try again later", retry_after_seconds=1
    )


def too_many_requests(retry_after_seconds: int) -> Refusal:
    """The workspace has made as many requests within a minute as it may."""
    return Refusal(
        status=429,
        reason="too_many_requests",
        message="Too many requests",
        retry_after_seconds=retry_after_seconds,
    )


def too_busy() -> Refusal:
    """There is more to do than the process takes at once, and this workspace has its share of it."""
    return Refusal(status=503, reason="too_busy", message="try again later", retry_after_seconds=1)


def write_still_pending() -> Refusal:
    return Refusal(
        status=503,
        reason="write_still_pending",
        message="write still pending",
        retry_after_seconds=1,
    )


def offset_expired(earliest_offset: int) -> Refusal:
    return Refusal(
        status=410,
        reason="offset_expired",
        message="offset expired",
        errors=(FieldError(message=f"earliest offset is {earliest_offset}", path="/offset"),),
    )


def internal_error(explanation: str = "internal error") -> Refusal:
    return Refusal(status=500, reason="internal_error", message=explanation)
