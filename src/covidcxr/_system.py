"""How many processor cores this process may use, and how it manages freed memory."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def reuse_freed_blocks(*, heaps: int | None = None) -> None:
    """Keep freed blocks of up to 32 MiB for reuse, for serving: the next picture needs the same ones again.

    A block that is mapped anew costs a page fault for every 4 KiB of it.

    Args:
        heaps: Of all threads together, each of which keeps its own freed blocks; None for one a thread.
    """
    options = {_M_MMAP_THRESHOLD: _LARGE, _M_TRIM_THRESHOLD: 2 * _LARGE}
    _set(options if heaps is None else options | {_M_ARENA_MAX: heaps})


def give_back_freed_memory() -> None:
    """Give back all that is free now, once a model is loaded.

    What ONNX Runtime frees when it has rearranged the weights would stay in the process, a third of its memory.
    """
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


@contextmanager
def collector_left_out() -> Iterator[None]:
    """Leave the garbage collector out of imports, which make none, and what they make out of its later searches."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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


CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def cores(limit: Path = CPU_LIMIT) -> int:
    """Return the number of processor cores that this process may use, at least 1.

    Args:
        limit: Where a container's share of them stands, if it has one (control groups of Linux, version 2).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text("ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit; "max" stands for none
        return allowed
