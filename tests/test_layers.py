"""Who may import whom. A wrong import is a design fault, so it fails here and not in a review."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = {"ingest", "processor", "stream_api", "control_api"}
PACKAGES = SERVICES | {"headwater", "deploy"}
DOMAIN_MAY_USE = {
    "__future__", "base64", "bisect", "calendar", "collections", "dataclasses", "datetime", "decimal",
    "enum", "functools", "hashlib", "itertools", "json", "math", "operator", "re", "string", "types",
    "typing", "unicodedata", "uuid", "zlib",
}  # fmt: skip
HOLD_A_PRODUCER_OR_CONSUMER = {
    "headwater/kafka.py",
    "ingest/accept.py",
    "ingest/results.py",
    "ingest/pending.py",
    "processor/consumer.py",
}


def _modules(*packages: str) -> Iterator[Path]:
    for package in sorted(packages):
        yield from sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_imports_no_other_service(service: str) -> None:
    wrong = {_name(p): _roots(p) & (SERVICES - {service} | {"deploy"}) for p in _modules(service)}
    assert {name: roots for name, roots in wrong.items() if roots} == {}


def test_headwater_imports_no_service() -> None:
    wrong = {_name(p): _roots(p) & (SERVICES | {"deploy"}) for p in _modules("headwater")}
    assert {name: roots for name, roots in wrong.items() if roots} == {}


def test_the_domain_is_pure() -> None:
    wrong = {}
    for path in _modules("headwater/domain"):
        outside = {
            name
            for name in _imports(path)
            if not name.startswith("headwater.domain") and name.split(".")[0] not in DOMAIN_MAY_USE
        }
        if outside:
            wrong[_name(path)] = outside
    assert wrong == {}


def test_the_domain_has_no_async_function() -> None:
    for path in _modules("headwater/domain"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [n.name for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)], _name(
            path
        )


def test_only_the_postgres_package_imports_the_driver() -> None:
    users = {_name(p) for p in _modules(*PACKAGES) if "asyncpg" in _roots(p)}
    assert {name for name in users if not name.startswith("headwater/postgres/")} == set()


def test_only_holders_of_a_producer_or_consumer_import_the_kafka_client() -> None:
    users = {_name(p) for p in _modules(*PACKAGES) if "aiokafka" in _roots(p)}
    assert users - HOLD_A_PRODUCER_OR_CONSUMER - {"headwater/embedded/kafka.py"} == set()


def test_only_the_settings_read_the_environment() -> None:
    readers = set()
    for path in _modules(*SERVICES, "headwater"):
        text = path.read_text(encoding="utf-8")
        if "os.environ" in text or "os.getenv" in text:
            readers.add(_name(path))
    outside = {
        name
        for name in readers
        if name != "headwater/settings.py"
        and not name.startswith(("headwater/cli/", "headwater/embedded/"))
    }
    assert outside == set()
