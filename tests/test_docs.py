"""Documents that can't drift: each list in them is compared with the code, in both directions."""

from __future__ import annotations

import ast
import re
import uuid
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from openapi_spec_validator import validate

import control_api.routes
import ingest.routes
import stream_api.routes
from headwater import metrics
from headwater.settings import Settings
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


@pytest.mark.parametrize(
    ("status", "headers", "body", "complaint"),
    [
        (200, {"X-Tracing-ID": None}, b'{"lastOffset":1}', "no X-Tracing-ID"),
        (200, {"X-Tracing-ID": ""}, b'{"lastOffset":1}', "non-empty"),
        (200, {"Content-Type": "text/plain"}, b'{"lastOffset":1}', "is text/plain"),
        (200, {}, b'{"lastOffset":-1}', "less than the minimum"),
        (200, {}, b'{"lastOffset":1,"more":1}', "'more' was unexpected"),
        (404, {}, b'{"message":"x","logref":"y","data":null}', "'errors' is a required property"),
        (409, {}, b"", "answered 409"),
    ],
)
def test_only_a_documented_answer_passes(
    status: int, headers: dict[str, str | None], body: bytes, complaint: str
) -> None:
    url = f"/hub/v1/workspaces/{uuid.uuid4()}/updates/last-offset"
    good = {
        "Content-Type": "application/json; charset=utf-8",
        "X-Tracing-ID": "x",
        "Access-Control-Allow-Origin": "*",
    }
    DOCUMENT.check("GET", url, 200, good, b'{"lastOffset":1}')
    given = {name: value for name, value in {**good, **headers}.items() if value is not None}
    with pytest.raises(AssertionError, match=complaint):
        DOCUMENT.check("GET", url, status, given, body)


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


PACKAGES = ("headwater", "ingest", "processor", "stream_api", "control_api", "deploy")


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _table_rows(name: str) -> dict[str, list[str]]:
    """The rows of all tables of a page, by the text in backticks that they begin with."""
    rows = {}
    for line in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and cells[0].endswith("`"):
            rows[cells[0].strip("`")] = cells[1:]
    return rows


def test_every_setting_is_documented_and_back() -> None:
    read = {
        name
        for path in _modules()
        for name in re.findall(r'"(HEADWATER_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert set(_table_rows("settings.md")) == read


def test_documented_defaults_are_those_of_the_code() -> None:
    settings = Settings.from_env({})
    rows = _table_rows("settings.md")
    compared = set()
    for area in fields(settings):
        part = getattr(settings, area.name)
        if not is_dataclass(part):
            continue
        for field in fields(part):
            if is_dataclass(getattr(part, field.name)):  # its variables have names of their own
                continue
            name = f"HEADWATER_{area.name}_{field.name}".upper()
            name = "HEADWATER_DATABASE_URL" if field.name == "database_url" else name
            compared.add(name)
            if field.name != "instance":  # made from the machine's name
                assert _shown(getattr(part, field.name)) == rows[name][0], name
    assert rows["HEADWATER_KAFKA_SECURITY_PROTOCOL"][0] == settings.kafka.security.protocol
    assert rows["HEADWATER_KAFKA_SASL_MECHANISM"][0] == settings.kafka.security.mechanism
    assert len(compared) > 30
    assert compared <= set(rows)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value or "") if not isinstance(value, int) else str(value)


def test_every_metric_is_documented_and_back() -> None:
    rows = {name: cells for name, cells in _table_rows("metrics.md").items() if "{" not in name}
    declared = {
        metric.name: [type(metric).__name__.lower(), ", ".join(metric.labels)]
        for metric in metrics.DECLARED
    }
    documented = {
        name: [cells[0].removesuffix(", read"), cells[1]]
        for name, cells in rows.items()
        if name.startswith("headwater_") and len(cells) == 3
    }
    assert documented == declared


def test_metrics_have_the_names_that_were_agreed_on() -> None:
    for metric in metrics.DECLARED:
        part = metric.name.split("_")[1]
        assert part in {"http", "ingest", "processor", "stream"}, metric.name
        assert metric.name.endswith("_total") is isinstance(metric, metrics.Counter), metric.name
        assert metric.name.endswith("_seconds") or not isinstance(metric, metrics.Histogram)
        assert not {label for label in metric.labels if label.endswith("id")}


def test_every_warning_and_error_is_in_the_operators_table_and_back() -> None:
    levels = {"warning": "warning", "error": "error", "exception": "error"}
    logged = set()
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in levels
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                logged.add((node.args[0].value, levels[node.func.attr]))
    rows = _table_rows("operations.md")
    assert {(event, cells[0]) for event, cells in rows.items()} == logged
