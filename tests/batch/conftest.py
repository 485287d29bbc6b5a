"""A folder of synthetic radiographs of all kinds, and a store that speaks S3."""

import io
import sys
import tarfile
from pathlib import Path

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from covidcxr.batch.plan import BatchSettings
from covidcxr.batch.scoring import BatchJob
from covidcxr.images.phantom import radiograph
from support.dicom_objects import dicom, write
from support.ports import free_port, listens
from support.processes import running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A dark PNG, a bright JPEG, a DICOM object, a uniform BMP and a file that is broken, by name in this order."""
    folder = tmp_path_factory.mktemp("pictures")
    grey = radiograph(np.random.default_rng(0), size=(128, 112))
    Image.fromarray(grey // 4).save(folder / "a-dark.png")
    (folder / "below").mkdir()
    Image.fromarray(150 + grey // 4).save(folder / "below" / "b-bright.jpg")
    (folder / "below" / "c-deep.dcm").write_bytes(write(dicom(grey.astype(np.uint16) * 16, bits=12)))
    Image.fromarray(np.full_like(grey, 90)).save(folder / "below" / "d-uniform.bmp")
    (folder / "below" / "e-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(scope="session")
def archive(pictures, tmp_path_factory) -> Path:
    """A tar file as webdataset has it: each picture with a JSON file beside it."""
    path = tmp_path_factory.mktemp("archive") / "000.tar"
    with tarfile.open(path, "w") as tar:
        for picture in sorted(path for path in pictures.rglob("*") if path.is_file()):
            tar.add(picture, f"./{picture.name}")
            note = tarfile.TarInfo(f"./{picture.stem}.json")
            note.size = 2
            tar.addfile(note, io.BytesIO(b"{}"))
    return path


@pytest.fixture
def job(tmp_path, model_file) -> BatchJob:
    """A batch in an empty folder, with the tiny model."""
    return BatchJob(out=str(tmp_path / "out"), model=model_file)


@pytest.fixture
def settings(predictor) -> BatchSettings:
    """Settings of a batch of ``pictures``."""
    return BatchSettings(sources=("pictures",), model=predictor.model, maps=None)


def many(pictures: Path, folder: Path, images: int) -> Path:
    """Write a list that names three pictures so many times in all."""
    paths = [pictures / "a-dark.png", pictures / "below" / "b-bright.jpg", pictures / "below" / "e-broken.png"]
    table = folder / "list.csv"
    table.write_text("path\n" + "".join(f"{paths[number % 3]}\n" for number in range(images)))
    return table


def rows(out: Path | str) -> list[dict[str, object]]:
    """Return all rows of a batch, in the order of the parts."""
    return [row for part in sorted(Path(out, "rows").glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


@pytest.fixture(scope="session")
def s3():
    """An S3 server on this machine with the empty bucket ``xrays``; gives a client of it."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="xrays")
        yield client
    server.stop()


@pytest.fixture(scope="session")
def gs(tmp_path_factory):
    """A server on this machine that speaks Google's protocol; gives the address of an empty bucket.

    A process of its own: pyarrow does not let other threads of this one answer while it waits.
    """
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", port]
    log = tmp_path_factory.mktemp("gs") / "log"
    with (
        running([*command, "--in-memory", "--default-bucket", "xrays"], log, ready=lambda: listens(port)),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://127.0.0.1:{port}")
        yield "gs://anonymous@xrays"
