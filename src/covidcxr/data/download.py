"""Public collections from their publishers to disk: checked, and put in place in one step."""

import hashlib
import json
import logging
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from covidcxr.data.fetch import FIRST_PAUSE, fetch, file_sha256
from covidcxr.data.sources import GitHubArchive, KaggleDataset, Source
from covidcxr.errors import DownloadError, ManifestError

logger = logging.getLogger(__name__)

GITHUB = "https://github.com"


def download(source: Source, root: Path, *, github: str = GITHUB, first_pause: float = FIRST_PAUSE) -> bool:
    """Fetch a collection into its folder under a root.

    The folder appears in one step, complete and checked, or not at all. What was fetched before an interruption is used
    by the next call. ``<folder>.download.json`` records the hashes; if the collection is fetched again, its files must
    be the same.

    Args:
        source: Which one.
        root: Folder for the collections, made if it is not there.
        github: Where GitHub, or a mirror with the same paths, is reached.
        first_pause: Seconds before the second attempt after a broken connection.

    Returns:
        Whether anything was fetched: a folder that is there is left as it is.

    Raises:
        DownloadError: The publisher cannot be reached, refuses, or sends something other than expected; the message
            says what to do.
    """
    folder = root / source.folder
    if folder.exists():
        return False
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".{source.folder}.part"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        record = {"source": source.name} | _fetch_into(staging, source, root, github, first_pause)
        _check_collection(source, staging)
        _keep_record(root / f"{source.folder}.download.json", record | {"files_sha256": tree_sha256(staging)})
    except DownloadError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    staging.replace(folder)
    return True


def _fetch_into(staging: Path, source: Source, root: Path, github: str, first_pause: float) -> dict[str, str]:
    """Fill a folder and return where its content came from."""
    if isinstance(source.download, GitHubArchive):
        return _from_github(source.download, staging, root / f".{source.folder}.zip", github, first_pause)
    return _from_kaggle(source.download, staging, root / ".kaggle")


def _from_github(archive: GitHubArchive, staging: Path, file: Path, github: str, first_pause: float) -> dict[str, str]:
    url = f"{github}/{archive.repo}/archive/{archive.commit}.zip"
    if not file.exists():
        fetch(url, file, sha256=archive.sha256, first_pause=first_pause)
    record = {"from": url, "archive_sha256": file_sha256(file)}
    try:
        unpack(file, staging, commit=archive.commit)
        check_files(staging, archive.content)
    finally:
        file.unlink()
    return record


def _from_kaggle(dataset: KaggleDataset, staging: Path, cache: Path) -> dict[str, str]:
    """Let Kaggle's client fetch, resume and check (MD5, as Kaggle gives it); it reads the user's credentials itself."""
    import kagglehub

    try:
        with _environment("KAGGLEHUB_CACHE", str(cache)):
            fetched = Path(kagglehub.dataset_download(dataset.handle))
    except Exception as error:  # the client has no common base of its exceptions
        page = f"https://www.kaggle.com/datasets/{dataset.handle.split('/versions/')[0]}"
        raise DownloadError(
            f"Expected the Kaggle data set {dataset.handle}. Received: {error}. Make an API token on "
            f"https://www.kaggle.com/settings, save it as ~/.kaggle/kaggle.json, accept the terms on {page}, and try "
            "again; what came so far is kept."
        ) from error
    (fetched / dataset.folder).replace(staging)
    shutil.rmtree(cache)
    return {"from": f"kaggle {dataset.handle}"}


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while: the client takes its folder from nowhere else."""
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
    """Unpack a zip file that GitHub made of one commit, without its outermost folder.

    Args:
        archive: The zip file; GitHub writes the commit into its comment.
        target: Folder to make.
        commit: 40 hex digits.

    Raises:
        DownloadError: Not a sound zip file, of another commit, larger than the disk has room for, or with a member that
            would land outside the target.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            if zipped.comment.decode(errors="replace") != commit:
                raise DownloadError(f"Expected commit {commit} in {archive.name}. Received {zipped.comment!r}.")
            _check_room(zipped, archive)
            for member in zipped.infolist():
                _unpack_member(zipped, member, target)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile) as error:  # all of zipfile
        raise DownloadError(f"Expected a sound zip file of {commit}. Received {archive}: {error}") from error


def _check_room(zipped: zipfile.ZipFile, archive: Path) -> None:
    needed, free = sum(member.file_size for member in zipped.infolist()), shutil.disk_usage(archive.parent).free
    if needed > free:
        raise DownloadError(f"Expected room for {needed} bytes in {archive.parent}. Received {free} free bytes.")


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
    """Check files against their published sha256.

    Args:
        folder: Where they lie.
        content: Path within the folder to sha256.

    Raises:
        DownloadError: A file is missing or differs; the message names it.
    """
    for name, expected in content.items():
        received = file_sha256(folder / name) if (folder / name).is_file() else "no such file"
        if received != expected:
            raise DownloadError(f"Expected {name} with sha256 {expected}. Received {received}.")


def _check_collection(source: Source, folder: Path) -> None:
    """Check that a collection can be read and has pictures."""
    try:
        present = sum(item.path.is_file() for item in source.read(folder))
    except ManifestError as error:
        raise DownloadError(f"Expected the collection {source.name} as published. Received: {error}") from error
    if not present:
        raise DownloadError(f"Expected pictures in the collection {source.name}. Received none.")


def tree_sha256(folder: Path) -> str:
    """Return one sha256 for all files of a folder: of the lines ``sha256  path`` sorted by path."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{file_sha256(path)}  {name}\n" for name, path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _keep_record(path: Path, record: Mapping[str, str]) -> None:
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["files_sha256"]
        if before != record["files_sha256"]:
            raise DownloadError(
                f"Expected the files that were fetched before (sha256 of all: {before}, in {path}). Received others: "
                f"{record['files_sha256']}. Delete {path.name} if you trust them."
            )
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
