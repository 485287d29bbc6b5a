"""The bytes of the images of a shard, read ahead of whoever decodes them."""

import io
import tarfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import IO, TypeVar

from covidcxr.batch.sources import is_archive, is_image_name
from covidcxr.batch.storage import BatchError, opened, read
from covidcxr.images.decode import MAX_BYTES, is_dicom
from covidcxr.images.paths import HEAD, ImagePath

Found = TypeVar("Found")
AHEAD = 16
"""Files, or blocks of a tar file, in memory that nobody has taken yet, at most."""
EARLY = MAX_BYTES // AHEAD
"""Bytes of a file that are read ahead: a whole computed radiography plate (covidcxr.images.grey.MAX_PIXELS), and of
AHEAD
files no more than the largest one may have. What is longer is read when its turn comes."""
BLOCK = 2**18
"""Bytes of a tar file that are read at a time: a store takes tens of milliseconds for each."""
READERS = 8
"""Files that are read at a time: a store takes tens of milliseconds to answer, in which a core scores an image."""
NO_TEXT = "backslashreplace"
"""How names in a tar file that are not in UTF-8 are written: what Python makes of them fits into no Parquet file."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One image as it lies in its file.

    Attributes:
        path: Of the file, or of the tar file around it.
        member: Its name in the tar file; None outside of one.
        data: At most MAX_BYTES + 1 bytes; empty with an error.
        error: Why it could not be read.
        read_ms: Time that it took, milliseconds.
    """

    path: str
    member: str | None = None
    data: bytes = b""
    error: str | None = None
    read_ms: float = 0.0

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.path}:{self.member}" if self.member else self.path


def files(items: Sequence[ImagePath]) -> Iterator[File]:
    """Read the files of a shard in their order, a few ahead.

    Raises:
        BatchError: A store cannot be reached.
    """
    if len(items) == 1 and not items[0].error and is_archive(items[0].path):
        return _members(items[0].path)
    return map(_whole, ahead(partial(_file, item, EARLY + 1) for item in items))


def ahead(tasks: Iterable[Callable[[], Found | None]], *, threads: int = READERS) -> Generator[Found, None, None]:
    """Do tasks in threads, at most AHEAD of them before their results are taken, in their order; None is the end."""
    waiting: deque[Future[Found | None]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) < AHEAD:
                continue
            if (found := waiting.popleft().result()) is None:
                break
            yield found
        for future in waiting:
            if (found := future.result()) is not None:
                yield found


def ms_since(start: float) -> float:
    """Return how long ago a time of ``time.perf_counter`` is, milliseconds."""
    return 1000 * (time.perf_counter() - start)


class _Ahead(io.RawIOBase):
    """A stream as tarfile takes it, with the next AHEAD blocks of another one in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._blocks = ahead(repeat(lambda: stream.read(BLOCK) or None), threads=1)
        self._left = b""

    def read(self, size: int = BLOCK) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        block = self._left or next(self._blocks, b"")
        self._left = block[size:]
        return block[:size]

    def close(self) -> None:
        """Wait for the block that is being read, so that the other stream can be closed."""
        self._blocks.close()
        super().close()


def _file(item: ImagePath, limit: int) -> File:
    if item.error:
        return File(path=item.path, error=item.error)
    start = time.perf_counter()
    try:
        data = read(item.path, limit)
    except OSError as error:
        reason = error.strerror or error
        return File(path=item.path, error=f"Expected a readable image file. Received {item.path}: {reason}.")
    return File(path=item.path, data=data, read_ms=ms_since(start))


def _whole(file: File) -> File:
    """Read a file anew of which only the start was read ahead."""
    return file if len(file.data) <= EARLY else _file(ImagePath(path=file.path), MAX_BYTES + 1)


def _members(path: str) -> Iterator[File]:
    """Read the images of a tar file from its start; what is broken after some of them is one more row."""
    found = 0
    try:
        with (
            opened(path) as stream,
            _Ahead(stream) as blocks,
            tarfile.open(fileobj=blocks, mode="r|*", bufsize=BLOCK, errors=NO_TEXT) as archive,
        ):
            start = time.perf_counter()
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)):
                    data = content.read(HEAD)
                    if is_image_name(member.name) or is_dicom(data):
                        data += content.read(MAX_BYTES + 1 - HEAD)
                        found += 1
                        yield File(path=path, member=member.name, data=data, read_ms=ms_since(start))
                start = time.perf_counter()
    except BatchError:
        raise
    except Exception as error:  # headers that break the format make tarfile raise anything
        yield File(path=path, error=f"Expected a whole tar file. Received {path}: {error} after {found} images.")
        return
    if not found:
        yield File(path=path, error=f"Expected a tar file of images. Received {path} without any.")
