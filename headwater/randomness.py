"""Random bits in small portions: asking the kernel for each id costs as much as making the id."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_BLOCK = struct.Struct("512Q")


def _numbers() -> Iterator[int]:
    while True:
        yield from _BLOCK.unpack(os.urandom(_BLOCK.size))


def _digits() -> Iterator[str]:
    while True:
        block = os.urandom(4096).hex()
        yield from [block[start : start + 32] for start in range(0, len(block), 32)]


random_bits = _numbers().__next__
"""64 bits of the kernel's randomness, as an integer."""

random_digits = _digits().__next__
"""128 bits of it, as 32 hexadecimal digits."""
