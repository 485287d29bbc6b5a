"""When the C library gives freed memory back to the system. Nothing here does anything where it is not glibc."""

import ctypes
import logging
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8  # glibc's malloc.h
_LARGE = 2**16
"""Bytes; below it are the small objects of Python, above it the weights of a network's layers."""

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Keep all of it in the process, for training.

    TensorFlow allocates and frees gigabytes a step on CPUs; glibc maps each large block anew, and the page faults can
    take longer than the arithmetic (measured in docs/performance.md). Call before TensorFlow starts its threads.
    """
    _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1})


def give_back_large_blocks() -> None:
    """Give every large block back at once, for serving.

    ONNX Runtime rearranges the weights while it loads them. As glibc comes set, what that frees stays in the process,
    half of its memory.
    """
    _set({_M_MMAP_THRESHOLD: _LARGE})


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    if not all(library.mallopt(name, value) for name, value in options.items()):
        logger.warning("glibc refused memory settings: this process may take more memory or time")
