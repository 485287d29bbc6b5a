"""Download of the public collections: each is checked, then put in place in one step."""

import hashlib
import json
import os
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pooch
import requests

from covidcxr._files import write_json
from covidcxr.data.sources import GitHubArchive, KaggleDataset, Source
from covidcxr.errors import DownloadError, ManifestError

GITHUB = "https://github.com"
ARCHIVE, CONTENT = "archive.zip", "content"
"""Names in the temporary folder of a download."""
_RETRIES = 2
_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_CHUNK = 1 << 20  # bytes


def download(source: Source, root: Path, *, github: str = GITHUB) -> bool:
    """Download a collection into its folder under a root.

    The folder appears in one step, complete and checked, or not at all. ``<folder>.download.json`` records the sha256
    of what was downloaded; a later download of the collection must give the same files.

    Args:
        source: The collection.
        root: Folder of all collections; created if missing.
        github: Address of GitHub or of a mirror with the same paths.

    Returns:
        Whether anything was downloaded; an existing folder is left as it is.

    Raises:
        DownloadError: The publisher cannot be reached, refuses, or sends something unexpected; the message says what
            to do.
    """
    folder = root / source.folder
    if folder.exists():
        return False
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".{source.folder}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        record = {"source": source.name} | _fill(staging, source, root, github)
        _check_collection(source, staging / CONTENT)
        record["files_sha256"] = tree_sha256(staging / CONTENT)
        _keep_record(root / f"{source.folder}.download.json", record)
        (staging / CONTENT).replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def _fill(staging: Path, source: Source, root: Path, github: str) -> dict[str, str]:
    """Put the collection into the folder CONTENT and return where it came from."""
    if isinstance(source.download, GitHubArchive):
        return _from_github(source.download, staging, github)
    return _from_kaggle(source.download, staging / CONTENT, root / ".kaggle")


def _from_github(archive: GitHubArchive, staging: Path, github: str) -> dict[str, str]:
    url = f"{github}/{archive.repo}/archive/{archive.commit}.zip"
    file = fetch(url, staging / ARCHIVE, sha256=archive.sha256)
    unpack(file, staging / CONTENT, commit=archive.commit)
    check_files(staging / CONTENT, archive.content)
    return {"from": url, "archive_sha256": file_sha256(file)}


def fetch(url: str, target: Path, *, sha256: str = "") -> Path:
    """Download a file over HTTP; it appears complete and checked, or not at all.

    Args:
        url: Address.
        target: File to write; must not exist.
        sha256: Expected hash, 64 hex digits; empty where it cannot be known.

    Returns:
        The target.

    Raises:
        DownloadError: The server cannot be reached, refuses, keeps breaking off, or sends a file with a different
            hash; the message names the address.
    """
    store = pooch.create(
        target.parent,
        base_url="",
        registry={target.name: f"sha256:{sha256}" if sha256 else None},
        urls={target.name: url},
        retry_if_failed=_RETRIES,
    )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=_CHUNK, timeout=_TIMEOUT)
    try:
        return Path(store.fetch(target.name, downloader=downloader))
    except requests.RequestException as error:
        raise DownloadError(f"Cannot download {url}: {error}. Try again later.") from error
    except ValueError as error:  # of pooch, for a hash
        raise DownloadError(f"Expected sha256 {sha256} from {url}. Received a different file: {error}") from error


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_kaggle(dataset: KaggleDataset, content: Path, cache: Path) -> dict[str, str]:
    """Download with Kaggle's client, which resumes, checks the MD5 that Kaggle gives, and finds the credentials."""
    import kagglehub

    try:
        with _environment("KAGGLEHUB_CACHE", str(cache)):
            fetched = Path(kagglehub.dataset_download(dataset.handle))
    except Exception as error:  # the client's exceptions have no common base class
        page = f"https://www.kaggle.com/datasets/{dataset.handle.split('/versions/')[0]}"
        raise DownloadError(
            f"Expected the Kaggle data set {dataset.handle}. Received: {error}. Create an API token on "
            f"https://www.kaggle.com/settings, save it as ~/.kaggle/kaggle.json, accept the terms on {page}, and try "
            "again; the part downloaded so far is kept."
        ) from error
    (fetched / dataset.folder).replace(content)
    shutil.rmtree(cache)
    return {"from": f"kaggle {dataset.handle}"}


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside the context; Kaggle's client takes its folder from nowhere else."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def unpack(archive: Path, target: Path, *, commit: str) -> None:
    """Unpack GitHub's zip file of a commit, without its outermost folder.

    Args:
        archive: The zip file; GitHub writes the commit into its comment.
        target: Folder to create.
        commit: Expected commit, 40 hex digits.

    Raises:
        DownloadError: The file is no intact zip file, is of another commit, is too large for the disk, or has a member
            that would be written outside the target.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            if zipped.comment.decode(errors="replace") != commit:
                raise DownloadError(f"Expected commit {commit} in {archive.name}. Received {zipped.comment!r}.")
            _check_room(zipped, archive)
            for member in zipped.infolist():
                _unpack_member(zipped, member, target)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile) as error:  # all of zipfile
        raise DownloadError(f"Expected an intact zip file of commit {commit}. Received {archive}: {error}") from error


def _check_room(zipped: zipfile.ZipFile, archive: Path) -> None:
    needed, free = sum(member.file_size for member in zipped.infolist()), shutil.disk_usage(archive.parent).free
    if needed > free:
        raise DownloadError(f"Not enough space in {archive.parent}: {needed} bytes needed, {free} free.")


def _unpack_member(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    parts = PurePosixPath(member.filename).parts[1:]
    if member.is_dir() or not parts:
        return
    name = "/".join(parts)
    escapes = member.filename.startswith("/") or ".." in parts or "\\" in name or ":" in name
    if escapes or stat.S_ISLNK(member.external_attr >> 16):
        raise DownloadError(f"Expected plain files inside the archive. Received the member {member.filename!r}.")
    path = target.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(member) as read, path.open("wb") as write:
        shutil.copyfileobj(read, write)


def check_files(folder: Path, content: Mapping[str, str]) -> None:
    """Check files against their sha256.

    Args:
        folder: Folder of the files.
        content: Path within the folder to sha256 (hex).

    Raises:
        DownloadError: A file is missing or differs; the message names it.
    """
    for name, expected in content.items():
        received = file_sha256(folder / name) if (folder / name).is_file() else "no such file"
        if received != expected:
            raise DownloadError(f"Expected {name} with sha256 {expected}. Received {received}.")


def _check_collection(source: Source, folder: Path) -> None:
    """Check that a collection can be read and has images."""
    try:
        present = sum(item.path.is_file() for item in source.read(folder))
    except ManifestError as error:
        raise DownloadError(f"Expected the collection {source.name} as published. Received: {error}") from error
    if not present:
        raise DownloadError(f"Expected images in the collection {source.name}. Received none.")


def tree_sha256(folder: Path) -> str:
    """Return one sha256 (hex) for all files of a folder: that of the lines ``sha256  path``, sorted by path."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{file_sha256(path)}  {name}\n" for name, path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _keep_record(path: Path, record: Mapping[str, str]) -> None:
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["files_sha256"]
        if before != record["files_sha256"]:
            raise DownloadError(
                f"Expected the same files as in the earlier download (sha256 of all: {before}, in {path}). Received "
                f"different ones: {record['files_sha256']}. Delete {path.name} if you trust them."
            )
    write_json(path, record)
