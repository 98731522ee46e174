"""The API document as a judge: does an answer look as it promises?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FILE = Path(__file__).parent.parent / "schemas" / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `name` is the operationId, or that of the path it is an alias of."""

    method: str
    path: str
    name: str
    item: Mapping[str, Any]


class Document:
    """`schemas/openapi.yaml`, with what it refers to."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        contents = {FILE: self.content} | {
            path: json.loads(path.read_bytes()) for path in FILE.parent.rglob("*.json")
        }
        self._registry: Registry[Any] = Registry().with_resources(
            (path.as_uri(), Resource.from_contents(content, default_specification=DRAFT202012))
            for path, content in contents.items()
        )
        self.operations = tuple(self._operations())

    def _operations(self) -> Iterator[Operation]:
        for path, item in self.content["paths"].items():
            for method in METHODS:
                if method in item:
                    found = item[method]
                    name = found.get("operationId") or found["x-alias-of"]
                    yield Operation(method=method.upper(), path=path, name=name, item=found)

    def operation_of(self, method: str, url: str) -> Operation:
        """The operation that answers; of two that match, the one with fewer parameters."""
        path = urlsplit(url).path
        found = [
            operation
            for operation in self.operations
            if operation.method == method and _pattern(operation.path).fullmatch(path)
        ]
        assert found, f"{method} {path} is not documented"
        return min(found, key=lambda operation: operation.path.count("{"))

    def check(
        self, method: str, url: str, status: int, headers: Mapping[str, str], raw: bytes
    ) -> Operation:
        """The operation, if its answer is documented and looks as documented."""
        operation = self.operation_of(method, url)
        known = operation.item["responses"]
        assert str(status) in known, f"{operation.name} answered {status}: {raw[:300]!r}"
        response, pointer = self._resolved(
            known[str(status)],
            f"/paths/{_escaped(operation.path)}/{method.lower()}/responses/{status}",
        )
        given = {name.lower(): value for name, value in headers.items()}
        for name in response.get("headers", {}):
            header, place = self._resolved(response["headers"][name], "")
            value = given.get(name.lower())
            assert value is not None or not header.get("required"), f"{operation.name}: no {name}"
            if value is not None:
                self._validate(_read(value, header["schema"]), f"{place}/schema")
        content = response.get("content")
        if content is None:
            assert raw == b"", f"{operation.name} {status} has a body: {raw[:300]!r}"
            return operation
        media_type = given["content-type"].partition(";")[0]
        assert media_type in content, f"{operation.name} {status} is {media_type}"
        if media_type == "application/json":
            self._validate(json.loads(raw), f"{pointer}/content/application~1json/schema")
        return operation

    def _resolved(self, value: Any, pointer: str) -> tuple[Any, str]:
        while "$ref" in value:
            pointer = value["$ref"].removeprefix("#")
            value = self._registry.resolver(FILE.as_uri()).lookup(f"#{pointer}").contents
        return value, pointer

    def _validate(self, value: Any, pointer: str) -> None:
        schema = {"$ref": f"{FILE.as_uri()}#{pointer}"}
        errors = Draft202012Validator(schema, registry=self._registry).iter_errors(value)
        faults = [f"{error.json_path}: {error.message[:300]}" for error in errors]
        assert faults == [], f"{pointer}: {faults}"


def _read(text: str, schema: Mapping[str, Any]) -> str | int:
    return int(text) if schema.get("type") == "integer" else text


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
