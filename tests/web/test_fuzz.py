"""Broken uploads: whatever arrives, the server answers soon, without a failure, and forgets it."""

import http.client
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from covidcxr.images.decode import is_dicom
from covidcxr.images.grey import MAX_PIXELS
from covidcxr.images.phantom import radiograph
from covidcxr.web.app import create_app
from support.processes import children
from support.serving import serving
from support.uploads import MULTIPART, dicom, multipart, picture

REQUESTS = int(os.environ.get("COVIDCXR_FUZZ", "300"))
"""Broken files to send."""
WARM = max(100, REQUESTS // 10)
"""Requests until the memory counts: by then every decoder is imported and every pool has grown."""
GROWTH = 64 * 2**20
"""Bytes that the peak of the memory may grow by after that."""
SECONDS = 5
"""A request may take."""
TOKENS = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xd8\xff",
    b"IDAT",
    b"DICM",
    b"\xfe\xff\x00\xe0",
    b"9" * 40,
)
GREY = radiograph(np.random.default_rng(0), size=(160, 140))
HEADER = {
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "PatientID": "Roe-17",
    "PatientAge": "061Y",
    "PatientSex": "F",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # as the server does: decoders warn of what is broken
]


def run_length_encoded():
    ds = dcmread(DicomBytesIO(dicom(GREY, **HEADER)))
    ds.compress(RLELossless, generate_instance_uid=False)
    file = DicomBytesIO()
    ds.save_as(file)
    return file.getvalue()


def around(frame, syntax):
    """Return a DICOM object around a compressed frame of 8 bits."""
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    ds = dcmread(DicomBytesIO(dicom(GREY, **HEADER, **bits, PixelData=GREY.tobytes())))
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    file = DicomBytesIO()
    ds.save_as(file)
    return file.getvalue()


@pytest.fixture(scope="module")
def corpus():
    colour = np.stack([GREY] * 3, axis=-1)
    return [
        picture(GREY),
        picture(GREY.astype(np.uint16) * 256),
        picture(colour),
        picture(GREY, "JPEG"),
        picture(GREY, "JPEG", progressive=True),
        picture(colour, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        picture(GREY, "TIFF", compression="tiff_lzw"),
        picture(GREY, "BMP"),
        picture(GREY, "WEBP"),
        dicom(GREY, **HEADER),
        run_length_encoded(),
        around(picture(GREY, "JPEG"), JPEGBaseline8Bit),
        around(picture(GREY, "JPEG2000", no_jp2=True), JPEG2000Lossless),
    ]


def broken(content, rng):
    """Return a file with one to eight faults: bytes changed, cut, doubled, replaced by what means something."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(rng.choice((64, 512, 2048, len(data) + 1))) % (len(data) + 1)
        length = rng.choice((1, 1, 2, 4, 64, 1000))
        match rng.randrange(6):
            case 0:
                data[place : place + length] = rng.randbytes(len(data[place : place + length]))
            case 1:
                data[place : place + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[place : place + 1])
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length]
            case 4:
                token = rng.choice(TOKENS)
                data[place : place + len(token)] = token
            case _:
                del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def memory(key, process):
    """Return what the kernel knows of a process, in bytes: VmRSS, VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(key + ":")]
    return 1024 * int(line.split()[1])


def path_of(content, number):
    """Return where to send a file: most are for predictions, the others for every other interface in turn."""
    match number % 5:
        case 0:
            return "/v2/models/covidcxr/infer"
        case 1:
            return "/api/v1/report.pdf"
        case 2 if is_dicom(content):
            return "/api/v1/report.dcm"
        case _:
            return "/api/v1/predictions"


def request_of(content, path):
    """Return body and headers of a request that holds a file."""
    if path.startswith("/api"):
        fields = [("include", "activation_map,lungs,patient,preview"), ("prevalence", "0.1")]
        return multipart([("x", content)], fields), {"Content-Type": MULTIPART}
    element = len(content).to_bytes(4, "little") + content
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + element, {"Inference-Header-Content-Length": str(len(head))}


def send(connection, content, number):
    """Return the status of the answer to one file."""
    path = path_of(content, number)
    connection.request("POST", path, *request_of(content, path))
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.timeout(3600)
def test_broken_files_are_answered(model_file, corpus, tmp_path):
    """By a server of its own, whose memory is not that of the tests."""
    rng, statuses, slowest, warm = random.Random(20), Counter(), 0.0, 0
    with serving(model_file, tmp_path / "log") as (process, host, port):
        processes = children(process.pid)
        connection = http.client.HTTPConnection(host, port, timeout=60)
        assert {send(connection, content, number) for number, content in enumerate(corpus)} == {200}
        begun = time.monotonic()
        for number in range(REQUESTS):
            content = broken(corpus[number % len(corpus)], rng)
            since = time.monotonic()
            status = send(connection, content, number)
            slowest = max(slowest, time.monotonic() - since)
            statuses[status] += 1
            assert status in (200, 422), (number, status)
            if number + 1 == WARM:
                warm = sum(memory("VmRSS", pid) for pid in processes)
                for pid in processes:
                    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew, from here
        connection.close()
        peak = sum(memory("VmHWM", pid) for pid in processes)
        print(  # noqa: T201 - the figures of a long run, with -s
            f"{REQUESTS} broken files in {time.monotonic() - begun:.0f} s, slowest {slowest:.2f} s; "
            f"memory {warm / 2**20:.0f} MiB after {WARM}, at most {peak / 2**20:.0f} MiB from then on, "
            f"{sum(memory('VmRSS', pid) for pid in processes) / 2**20:.0f} MiB at the end; {dict(statuses)}"
        )
    assert slowest < SECONDS
    assert peak - warm < GROWTH
    assert min(statuses[200], statuses[422]) > REQUESTS / 10  # some faults do not matter, most do


def test_broken_forms_are_answered(predictor):
    """The faults are in the request, not in the file."""
    client, rng = create_app(predictor).test_client(), random.Random(21)
    body = multipart([("x.png", picture(GREY))], [("include", "preview")])
    statuses = {
        client.post("/api/v1/predictions", data=broken(body, rng), content_type=MULTIPART).status_code
        for _ in range(100)
    }
    assert statuses <= {200, 400, 413, 422}
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 40, 40, 1], "data": [7] * 1600}
    request = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
    statuses = {client.post("/v2/models/covidcxr/infer", data=broken(request, rng)).status_code for _ in range(200)}
    assert statuses <= {200, 400, 422}
    assert 200 in statuses


def test_broken_headers_are_answered(predictor):
    """The faults are where a DICOM image says whose it is, which its pixels do not need."""
    client, rng = create_app(predictor).test_client(), random.Random(22)
    content = dicom(GREY, **HEADER)
    begin = content.index(b"\x10\0\x20\0LO")  # PatientID, the first element of the patient here
    end = content.index(b"\x28\0\x02\0US")  # SamplesPerPixel, the first element about the pixels
    statuses = set()
    for number in range(100):
        changed = bytearray(content)
        changed[rng.randrange(begin, end)] = rng.randrange(256)
        path = ("/api/v1/predictions", "/api/v1/report.dcm")[number % 2]
        body, headers = request_of(bytes(changed), path)
        statuses.add(client.post(path, data=body, headers=headers).status_code)
    assert statuses == {200, 422}


def test_the_largest_picture_is_scored_in_time(predictor):
    side = int(MAX_PIXELS**0.5)
    content = picture(np.tile(np.arange(side, dtype=np.uint16).astype(np.uint8), (side, 1)))
    begun = time.monotonic()
    path = "/api/v1/predictions"
    body, headers = request_of(content, path)
    assert create_app(predictor).test_client().post(path, data=body, headers=headers).status_code == 200
    assert time.monotonic() - begun < SECONDS
