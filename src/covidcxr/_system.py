"""Processor cores and freed memory of this process."""

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
"""Bytes: the upper limit of glibc's own adaptive threshold (mallopt(3), DEFAULT_MMAP_THRESHOLD_MAX)."""

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Keep all freed memory in the process, for training. Call before TensorFlow starts its threads.

    TensorFlow allocates and frees gigabytes a step on CPUs. glibc would map each large block again, and the page
    faults can take longer than the arithmetic (docs/performance.md).
    """
    _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_ARENA_MAX: 1})


def reuse_freed_blocks() -> None:
    """Keep freed blocks of up to 32 MiB for the next image, for serving: a new block costs a page fault every 4 KiB."""
    _set({_M_MMAP_THRESHOLD: _LARGE, _M_TRIM_THRESHOLD: 2 * _LARGE})


def give_back_freed_memory() -> None:
    """Give all free memory back to the system, after loading a model.

    What ONNX Runtime frees after rearranging the weights is a third of the memory of the process.
    """
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


@contextmanager
def collector_left_out() -> Iterator[None]:
    """Disable garbage collection during imports, which leave no garbage, and exclude their objects from then on."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _set(options: dict[int, int]) -> None:
    library = _glibc()
    if library is not None and not all(library.mallopt(name, value) for name, value in options.items()):
        logger.warning("glibc refused memory settings: this process may need more memory or time")


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
        limit: File with the share of a container, if it has one (control groups of Linux, version 2).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text("ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit, or "max"
        return allowed
