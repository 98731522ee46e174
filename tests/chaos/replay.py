"""A customer's life, told again one write after the other by the slow reference.

The hub keeps with each write which version answered it. So of the writes of version k exactly one turns
version k-1 into version k, and each of the others leaves version k as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.ledger import Write
from tests.domain import reference

WRITABLE = ("externalId", "base", "consents", "extended", "extra", "tags", "enabled")


@dataclass(frozen=True, slots=True)
class Applied:
    """A write that the hub says it applied; `version` None for a deletion."""

    operation_id: str
    version: int | None
    write: Write


def replay(
    customer_id: str, documents: Sequence[Mapping[str, Any]], deleted: bool, applied: list[Applied]
) -> list[str]:
    """What is wrong with a customer whose versions, as the feed showed them, are `documents`."""
    violations = []
    by_version: dict[int | None, list[Applied]] = {}
    for one in applied:
        by_version.setdefault(one.version, []).append(one)
    before: dict[str, Any] | None = None
    last = len(documents) - 1
    for version, document in enumerate(documents):
        shown = {name: document.get(name) for name in WRITABLE}
        candidates = by_version.pop(version, [])
        if deleted and version == last:
            candidates += by_version.pop(None, [])
            deletions = [c for c in candidates if c.write.kind == "DELETE"]
            if len(deletions) != 1 or len(candidates) != 1:
                violations.append(_told(customer_id, version, "one deletion", candidates, document))
            continue
        makes = [c for c in candidates if _same(_after(before, c.write), shown)]
        moves = [c for c in candidates if not _same(_after(shown, c.write), shown)]
        if not makes:
            violations.append(
                _told(customer_id, version, "a write that makes it", candidates, document)
            )
        elif not any(all(moved is made for moved in moves) for made in makes):
            violations.append(
                _told(customer_id, version, "one write that makes it", candidates, document)
            )
        before = shown
    for unknown, candidates in by_version.items():
        violations.append(
            _told(customer_id, unknown, "such a version in the feed", candidates, None)
        )
    return violations


def _after(before: Mapping[str, Any] | None, write: Write) -> dict[str, Any] | None:
    body = {name: value for name, value in write.body.items() if name in WRITABLE}
    if before is None:
        return reference.created(body) if write.kind == "POST" else None
    mode = f"{write.kind}_STRICT" if write.strict else write.kind
    return reference.written(dict(before), body, mode)


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and reference.spelled(dict(one)) == reference.spelled(dict(other))


def _told(
    customer_id: str,
    version: int | None,
    expected: str,
    candidates: list[Applied],
    found: Mapping[str, Any] | None,
) -> str:
    writes = (
        "; ".join(f"operation {c.operation_id}: {c.write.told()}" for c in candidates) or "none"
    )
    return (
        f"REPLAY: customer {customer_id} version {version}: expected {expected}, "
        f"writes that say so: {writes}; found {found}"
    )
