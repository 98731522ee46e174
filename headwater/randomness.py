"""Random bits in small portions: asking the kernel for each id costs as much as making the id."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_BLOCK = struct.Struct("512Q")


def _numbers() -> Iterator[int]:
    while True:
        yield from _BLOCK.unpack(os.urandom(_BLOCK.size))


random_bits = _numbers().__next__
"""64 bits of the kernel's randomness, as an integer."""
