"""Build the wheel and the source archive, byte for byte the same for one commit and ``SOURCE_DATE_EPOCH``.

``python -m build`` makes a reproducible wheel, but a source archive with the time of the build, which is repacked here.
"""

import argparse
import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

EARLIEST = 315532800
"""Seconds from 1970 to 1980-01-01, the earliest date in a zip file, hence in a wheel."""


def build(source: Path, out: Path, epoch: int) -> list[Path]:
    """Build both archives with the setuptools that is installed, which constraints.txt pins.

    Args:
        source: Root of the repository.
        out: Folder for the archives.
        epoch: Time of all files, in seconds since 1970, at least EARLIEST.

    Returns:
        The wheel and the source archive.
    """
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, env=environment, check=True)
    (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    archive.write_bytes(repacked(archive.read_bytes(), epoch))
    return [wheel, archive]


def repacked(archive: bytes, epoch: int) -> bytes:
    """Return a ``.tar.gz`` with the same files, sorted, with one time, no owner and readable by all."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=packed, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(packed.getvalue(), mtime=epoch)


def main() -> None:
    """Build into ``dist/`` or the folder given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the archives, created if missing")
    arguments = parser.parse_args()
    epoch = max(EARLIEST, int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)))
    for path in build(Path(__file__).parents[1], arguments.out, epoch):
        print(path)


if __name__ == "__main__":
    main()
