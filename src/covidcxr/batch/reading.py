"""Reading of the images of a shard, ahead of their decoding."""

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

from pyarrow import ArrowException

from covidcxr.batch.sources import is_archive, is_image_name
from covidcxr.batch.storage import opened, read
from covidcxr.errors import BatchError
from covidcxr.images.decode import MAX_BYTES, is_dicom
from covidcxr.images.paths import HEAD, ImagePath
from covidcxr.prediction.scoring import Outcome

Found = TypeVar("Found")
AHEAD = 16
"""Largest number of files, or blocks of a tar file, that wait in memory."""
EARLY = MAX_BYTES // AHEAD
"""Bytes of a file that are read ahead: enough for an uncompressed plate of computed radiography, and AHEAD times this
is the largest file allowed. The rest of a larger file is read when its turn comes."""
BLOCK = 2**18
"""Bytes of a tar file per read; an object store needs tens of milliseconds for each."""
READERS = 8
"""Files read at the same time; an object store answers in tens of milliseconds, in which a core scores an image."""
UNREADABLE = (OSError, ValueError, ArrowException, BatchError)
"""Errors of reading whatever a list holds: names with NUL, addresses of other stores, buckets that do not exist."""
NAME_ERRORS = "backslashreplace"
"""Codec error handler for names in a tar file: surrogates, the default of tarfile, cannot be stored in Parquet."""


@dataclass(frozen=True, kw_only=True)
class ImageFile(Outcome):
    """An image, encoded at first.

    Attributes:
        member: Name in the tar file at ``path``; None for a file of its own.
        data: Encoded image, at most MAX_BYTES + 1 bytes; empty if there is an error.
        read_ms: Milliseconds that reading took.
    """

    member: str | None = None
    data: bytes = b""
    read_ms: float = 0.0

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.path}:{self.member}" if self.member else self.path


def files(items: Sequence[ImagePath]) -> Iterator[ImageFile]:
    """Read the files of a shard in order, a few ahead; what cannot be read has an error."""
    if len(items) == 1 and not items[0].error and is_archive(items[0].path):
        return _members(items[0].path)
    return map(_whole, ahead(partial(_file, item, EARLY + 1) for item in items))


def ahead(tasks: Iterable[Callable[[], Found | None]], *, threads: int = READERS) -> Generator[Found, None, None]:
    """Run tasks in threads, at most AHEAD results in advance, and yield results in order until one is None."""
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
    """Return the milliseconds since a value of ``time.perf_counter``."""
    return 1000 * (time.perf_counter() - start)


class _Ahead(io.RawIOBase):
    """A stream for tarfile that keeps the next AHEAD blocks of another stream in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._blocks = ahead(repeat(lambda: stream.read(BLOCK) or None), threads=1)
        self._left = b""

    def read(self, size: int = BLOCK) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        block = self._left or next(self._blocks, b"")
        self._left = block[size:]
        return block[:size]

    def close(self) -> None:
        """Wait for the current read, so that the other stream can be closed."""
        self._blocks.close()
        super().close()


def _file(item: ImagePath, limit: int) -> ImageFile:
    if item.error:
        return ImageFile(path=item.path, error=item.error)
    start = time.perf_counter()
    try:
        data = read(item.path, limit)
    except UNREADABLE as error:
        return ImageFile(path=item.path, error=_reason("a readable image file", item.path, error))
    return ImageFile(path=item.path, data=data, read_ms=ms_since(start))


def _whole(file: ImageFile) -> ImageFile:
    """Read a file again if only its start was read ahead."""
    return file if len(file.data) <= EARLY else _file(ImagePath(path=file.path), MAX_BYTES + 1)


def _members(path: str) -> Iterator[ImageFile]:
    """Read the images of a tar file from its start; if it is damaged, an error follows the images before the damage."""
    found = 0
    try:
        with (
            opened(path) as stream,
            _Ahead(stream) as blocks,
            tarfile.open(fileobj=blocks, mode="r|*", bufsize=BLOCK, errors=NAME_ERRORS) as archive,
        ):
            start = time.perf_counter()
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)):
                    data = content.read(HEAD)
                    if is_image_name(member.name) or is_dicom(data):
                        data += content.read(MAX_BYTES + 1 - HEAD)
                        found += 1
                        yield ImageFile(path=path, member=member.name, data=data, read_ms=ms_since(start))
                start = time.perf_counter()
    except Exception as error:  # tarfile raises anything for broken headers
        reason = _reason("a whole tar file", path, error)
        yield ImageFile(path=path, error=f"{reason} Read {found} images before." if found else reason)
        return
    if not found:
        yield ImageFile(path=path, error=f"Expected a tar file with images. Received {path}, which has none.")


def _reason(expected: str, path: str, error: Exception) -> str:
    if isinstance(error, BatchError):
        return str(error)
    return f"Expected {expected}. Received {path}: {getattr(error, 'strerror', None) or error}."
