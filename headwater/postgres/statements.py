"""Named SQL statements: they live in `.sql` files beside the functions that use them.

A file is a sequence of blocks; each begins with `-- name: the_name`, goes on with comment lines that say
what it does and what its parameters are, and holds one statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_MARK = "-- name:"


def load(name: str) -> Mapping[str, str]:
    """The statements of `headwater/postgres/<name>.sql` by name."""
    text = files("headwater.postgres").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    statements: dict[str, str] = {}
    for block in text.split(_MARK)[1:]:
        title, _, body = block.partition("\n")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        key = title.strip()
        if key in statements:
            raise ValueError(f"{name}.sql names {key!r} twice")
        statements[key] = "\n".join(lines).strip().rstrip(";")
    return MappingProxyType(statements)
