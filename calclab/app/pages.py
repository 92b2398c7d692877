"""Memory that stays with the process: what one tensor leaves, the next one takes.

The C library's allocator gives large pieces back to the system as soon as they are free, and takes new ones, page by
page, for the next tensor. A step on 10^7 parameters then spends most of its time in the system.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # glibc's malloc.h
MOST = 2**31 - 1


@functools.cache
def keep_pages() -> None:
    """From now on no free memory is given back before the process ends, where the C library is one that can be told."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, MOST)
