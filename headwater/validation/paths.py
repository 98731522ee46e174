"""Which properties of a customer a node's rule may name. Source: contacthub 3.5 (44, 46), customer-model 5.1."""

from __future__ import annotations

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.json import JsonObject
from headwater.validation.compile import derive
from headwater.validation.schemas import load_schemas

_SCALARS = frozenset({"string", "number", "integer", "boolean"})


def _paths_of(schema: JsonObject, root: str) -> dict[str, bool]:
    """The dotted paths of all members of a schema; whether each holds a single value."""
    paths: dict[str, bool] = {}
    for name, inner in schema.get("properties", {}).items():
        path = f"{root}{name}"
        declared = inner.get("type", "object")
        types = {declared} if isinstance(declared, str) else set(declared)
        paths[path] = bool(types & _SCALARS)
        paths |= _paths_of(inner, f"{path}.")
    return paths


_CUSTOMER = load_schemas().customer
_PATHS = {
    path: is_scalar
    for path, is_scalar in _paths_of(derive(_CUSTOMER, _CUSTOMER["definitions"]), "").items()
    if path in {"externalId", "extra"} or path.split(".")[0] in {"base", "consents", "tags"}
}
"""What a rule or a list of mandatory properties may name, besides extended properties."""


def fault_of_path(path: str, config: WorkspaceConfig, *, must_be_scalar: bool) -> str | None:
    """What keeps a property path out of a rule; None if nothing does."""
    is_scalar: bool | None
    is_enabled = True
    if path.startswith("extended."):
        definition = config.customer_extended.get(path.removeprefix("extended."))
        is_scalar = None if definition is None else definition.get("type") in _SCALARS
        if definition is not None:
            is_enabled = (definition.get("contactlabProperties") or {}).get("enabled") is not False
    else:
        is_scalar = _PATHS.get(path)
        steps = path.split(".")[1:]
        parents = {".".join(steps[:count]) for count in range(1, len(steps) + 1)}
        is_enabled = not path.startswith("base.") or parents.isdisjoint(config.disabled_base)
    if is_scalar is None:
        return "property is not defined"
    if must_be_scalar and (not is_scalar or path.startswith("consents.")):
        return "property is not scalar"
    return None if is_enabled else "property is disabled"
