"""When the C library gives freed memory back to the system. Nothing here does anything where it is not glibc."""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8  # glibc's malloc.h
_LARGE = 2**25
"""Bytes: the most that glibc's own rule would come to (mallopt(3), DEFAULT_MMAP_THRESHOLD_MAX)."""

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Keep all of it in the process, for training.

    TensorFlow allocates and frees gigabytes a step on CPUs; glibc maps each large block anew, and the page faults can
    take longer than the arithmetic (measured in docs/performance.md). Call before TensorFlow starts its threads.
    """
    _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1})


@contextmanager
def settled() -> Iterator[None]:
    """Keep freed blocks for reuse from now on; after the block, which loads a model, give its own back. For serving.

    Decoding pictures needs the same blocks again for the next one. While a model loads, a block that is mapped anew
    costs page faults, of which a server's start has a seventh fewer this way; and what ONNX Runtime frees when it has
    rearranged the weights would stay in the process, a third of its memory.
    """
    _set({_M_MMAP_THRESHOLD: _LARGE, _M_TRIM_THRESHOLD: 2 * _LARGE})
    yield
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    library = _glibc()
    if library is not None and not all(library.mallopt(name, value) for name, value in options.items()):
        logger.warning("glibc refused memory settings: this process may take more memory or time")


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
