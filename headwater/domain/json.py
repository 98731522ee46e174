"""Types for JSON values; `Any` enters here and leaves one call after parsing."""

from __future__ import annotations

from typing import Any, TypeAlias

JsonValue: TypeAlias = Any
"""What a JSON parser returns: None, bool, int, float, str, list or dict of the same."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object: string keys, values of `JsonValue`."""
