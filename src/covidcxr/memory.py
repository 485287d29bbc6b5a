"""Keep freed memory in the process, for training on CPUs."""

import ctypes
import logging
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Stop the C library from giving memory back to the system after each training step.

    TensorFlow allocates and frees gigabytes a step on CPUs; glibc maps each large block anew, and the page faults can
    take longer than the arithmetic (measured in docs/performance.md). Call before TensorFlow starts its threads. Does
    nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
    if not all(library.mallopt(name, value) for name, value in settings):
        logger.warning("glibc refused the memory settings for training: steps may be slow")
