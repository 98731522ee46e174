"""Judging documents: compiled JSON Schema validators accept fast, a refusal gets its detailed report.

The schema files under `schemas/` are the public ones. What is compiled is derived from them (`compile.py`),
because the hub accepts more than they say: null for every optional member, dates in several spellings.
"""

from headwater.validation.schemas import Context, EventType, Schemas, load_schemas
from headwater.validation.validator import Validator

__all__ = ["Context", "EventType", "Schemas", "Validator", "load_schemas"]
