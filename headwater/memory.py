"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEPT_BYTES = 16 * 1024 * 1024
_LARGEST_BYTES = 4 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let glibc keep up to 16 MiB that were freed, pieces of up to 4 MiB among them, for what comes next.

    By default it gives larger pieces back to the system at once, and takes pages from it anew for the next
    buffer of a socket or body: on a virtual machine that costs several times what filling them costs.
    Nothing happens with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
