"""Checking configuration bodies: small hand-made schemas, the sentences of contacthub 2.4."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.json import JsonObject
from headwater.domain.refusal import FieldError, Refusal
from headwater.errors import Refused
from headwater.http.body import read_object
from headwater.validation.check import make_check

MAX_BYTES = 1_048_576


class Shape:
    """The shape of a body, for a kind of resource."""

    def __init__(
        self, kind: str, properties: Mapping[str, JsonObject], required: tuple[str, ...] = ()
    ) -> None:
        self._message = f"source {kind} is not valid"
        schema: JsonObject = {
            "type": "object",
            "additionalProperties": False,
            "properties": dict(properties),
        }
        if required:
            schema["required"] = list(required)
        self._check = make_check(schema)

    def refuse(self, *errors: FieldError) -> Refusal:
        """The 400 of this kind."""
        return refusals.request_not_valid(self._message, *errors)

    async def read(self, request: web.Request) -> JsonObject:
        """The body, if it has the shape; `[]` where an object is meant is `{}` (contacthub 2.10).

        Raises:
            Refused: 400, 413, 415.
        """
        _, body = await read_object(request, MAX_BYTES, self.refuse)
        read, errors = self._check(body, "")
        if errors:
            raise Refused(self.refuse(*errors))
        whole: JsonObject = read
        return whole
