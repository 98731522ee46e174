"""UUIDs of the Postgres driver: equal to those of the standard library, and of their class.

They are made, hashed and printed in C, in a tenth of the time; the pipeline does each several times for
every record. `orjson` alone does not know them: they go into JSON as text.
"""

from __future__ import annotations

from uuid import UUID

from asyncpg.pgproto import pgproto


def find_new_uuid(text: str) -> UUID | None:
    """As `headwater.domain.ids.find_uuid`, without a cache: for ids that hardly ever come again."""
    if len(text) != 36 or not text[8] == text[13] == text[18] == text[23] == "-":
        return None
    try:
        return pgproto.UUID(text)
    except ValueError:
        return None
