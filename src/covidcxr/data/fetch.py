"""One file over HTTP: resumed where the server can, retried, checked, and put in place in one step."""

import hashlib
import logging
import time
from pathlib import Path

import requests
from tqdm import tqdm

from covidcxr.errors import DownloadError

logger = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_PAUSE = 1.0
"""Seconds before the second attempt; doubled before every further one."""
_TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
_CHUNK = 1 << 20  # bytes
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP status codes that another attempt may cure


class _InterruptedError(Exception):
    """An attempt failed in a way that another may cure."""


def fetch(url: str, target: Path, *, sha256: str = "", first_pause: float = FIRST_PAUSE) -> str:
    """Fetch a file.

    Bytes go to ``<target>.part``; the target appears complete and checked, or not at all. A part left by an earlier
    call is continued if the server says that the file is still the same (``ETag``, RFC 9110 section 13.1.5), else
    fetched anew.

    Args:
        url: Address.
        target: File to write.
        sha256: Expected hash, 64 hex digits; empty where it cannot be known beforehand.
        first_pause: Seconds before the second attempt.

    Returns:
        The sha256 of the file.

    Raises:
        DownloadError: The server cannot be reached, refuses, breaks off again and again, or sends a file with another
            hash; the message names the address.
    """
    part = target.with_name(target.name + ".part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(first_pause * 2 ** (attempt - 1))
        try:
            _continue(url, part)
            break
        except (
            _InterruptedError,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as e:
            logger.warning("attempt %d of %d to fetch %s: %s", attempt + 1, ATTEMPTS, url, e)
            reason = e
        except requests.RequestException as e:
            raise DownloadError(f"Expected an address that can be fetched. Received {url}: {e}") from e
    else:
        raise DownloadError(
            f"Expected the whole of {url} in {ATTEMPTS} attempts. Received: {reason}. Try again later: what came "
            f"so far is kept in {part} and continued where the server allows it."
        ) from reason
    received = file_sha256(part)
    if sha256 and received != sha256:
        _discard(part)
        raise DownloadError(f"Expected sha256 {sha256} from {url}. Received {received}. Nothing was kept.")
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return received


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tag_file(part: Path) -> Path:
    """Return the file that holds the ETag under which the part was fetched."""
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _continue(url: str, part: Path) -> None:
    """Fetch what is missing of a part, in one attempt."""
    tag = _tag_file(part).read_text() if _tag_file(part).exists() else ""
    done = part.stat().st_size if part.exists() and tag else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code in _RETRIED:
            raise _InterruptedError(f"HTTP status {response.status_code}")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{done}":
                return  # the whole file was there already
            _discard(part)
            raise _InterruptedError("the part does not belong to this file")
        if not response.ok:
            raise DownloadError(f"Expected a file at {url}. Received HTTP status {response.status_code}.")
        continues = response.status_code == requests.codes.partial_content
        if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            _discard(part)
            raise _InterruptedError("the server continued at another place than asked for")
        _save(response, part, done if continues else 0)


def _save(response: requests.Response, part: Path, done: int) -> None:
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):  # weak tags (W/) do not promise the same bytes
        _tag_file(part).write_text(tag)
    else:
        _tag_file(part).unlink(missing_ok=True)
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    name = part.name.removesuffix(".part").lstrip(".")
    with (
        part.open("ab" if done else "wb") as file,
        tqdm(initial=done, total=total, desc=name, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise _InterruptedError(f"{part.stat().st_size} of {total} bytes")
