"""Documents that can't drift: each list in them is compared with the code, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from openapi_spec_validator import validate

import control_api.routes
import ingest.routes
import stream_api.routes
from headwater.validation import load_schemas
from tests.openapi import FILE, Document

ROOT = Path(__file__).parent.parent
ROUTES = [*ingest.routes.ROUTES, *stream_api.routes.ROUTES, *control_api.routes.ROUTES]
DOCUMENT = Document()


def test_the_api_document_is_valid() -> None:
    validate(DOCUMENT.content, base_uri=FILE.as_uri())


def test_every_route_is_in_the_api_document_and_back() -> None:
    served = {(route.method, route.path): route.handler.__name__ for route in ROUTES}
    described = {(one.method, one.path): one.name for one in DOCUMENT.operations}
    assert described == served


def test_operation_ids_are_unique() -> None:
    ids = [one.item["operationId"] for one in DOCUMENT.operations if "operationId" in one.item]
    assert sorted(ids) == sorted(set(ids))
    assert {one.name for one in DOCUMENT.operations} == set(ids)


def test_every_part_of_the_api_document_is_used() -> None:
    text = FILE.read_text(encoding="utf-8")
    unused = [
        f"{kind}/{name}"
        for kind, parts in DOCUMENT.content["components"].items()
        for name in parts
        if kind != "securitySchemes" and f'"#/components/{kind}/{name}"' not in text
    ]
    assert unused == []


def test_every_event_type_and_context_is_in_the_api_document() -> None:
    schemas = load_schemas()
    parts = DOCUMENT.content["components"]["schemas"]
    types = {branch["properties"]["type"]["const"] for branch in parts["EventNew"]["oneOf"]}
    assert types == set(schemas.event_types)
    assert set(parts["EventContext"]["enum"]) == set(schemas.contexts)


def _documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    inside = [target for target in targets if not target.startswith(("http:", "https:", "mailto:"))]
    missing = [target for target in inside if not (path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:headwater|ingest|processor|stream_api|control_api|deploy|schemas|tests|bench|docs)"
        r"/[\w./-]+\.(?:py|sql|yaml|json|md))`",
        path.read_text(encoding="utf-8"),
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
