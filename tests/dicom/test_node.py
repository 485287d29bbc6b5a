"""The node as a process of its own, called by dcmtk's tools and, where bytes matter, by bare sockets."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage
from pynetdicom import AE

from covidcxr.dicom.node.peer import StorePeer
from covidcxr.dicom.node.queue import Queue, State
from covidcxr.dicom.node.server import (
    MAX_PDU_BYTES,
    MISMATCH,
    NO_RESOURCES,
    STATUSES,
    SUCCESS,
    Node,
    NodeSettings,
    RateLimiter,
)
from support import processes
from support.dicom_node import CHEST, NAME, PATIENT_ID, archive, chest, echo, node, save, send, stored
from support.fuzz import request
from support.ports import free_port, listens
from support.processes import eventually

pytestmark = pytest.mark.slow


def pictures(folder, *datasets):
    folder.mkdir(exist_ok=True)
    return [save(ds, folder / f"{number}.dcm") for number, ds in enumerate(datasets)]


def waiting(queue):
    """Return how many files are still on their way."""
    return sum(1 for name in ("received", "results") for _ in (queue / name).iterdir())


def test_images_arrive_and_results_stand_in_the_archive(model_file, tmp_path):
    port, to = free_port(), free_port()
    files = pictures(tmp_path / "in", *(chest(number) for number in range(3)))
    with (
        archive(tmp_path / "archive", to),
        node(tmp_path / "queue", model_file, port, "--forward", f"ARCHIVE@127.0.0.1:{to}"),
    ):
        assert echo(port)
        assert send(port, *files).returncode == 0
        assert send(port, *files).returncode == 0  # again: answered, not scored again
        eventually(lambda: len(list((tmp_path / "archive").iterdir())) == 9)
        time.sleep(0.5)
    results = stored(tmp_path / "archive")
    assert sorted(result.Modality for result in results) == ["OT"] * 3 + ["PR"] * 3 + ["SR"] * 3
    assert {result.StudyInstanceUID for result in results} == {"2.25.77"}
    log = (tmp_path / "queue.log").read_text()
    assert log.count("delivered: ") == 3
    assert log.count("known: ") == 3


def test_a_title_and_a_port_are_enough(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "covidcxr", "dicom", "node", "--ae-title", "CHESTS", "--port", port]
    with processes.running(command, tmp_path / "node.log", ready=lambda: listens(port), cwd=tmp_path):
        assert echo(port, called="CHESTS")
    assert (tmp_path / "covidcxr-queue").is_dir()


def test_a_peer_that_comes_later_gets_everything(model_file, tmp_path):
    port, to = free_port(), free_port()
    files = pictures(tmp_path / "in", *(chest(number) for number in range(2)))
    with node(tmp_path / "queue", model_file, port, "--forward", f"ARCHIVE@127.0.0.1:{to}"):
        assert send(port, *files).returncode == 0
        eventually(lambda: "delivery failed: ARCHIVE at 127.0.0.1" in (tmp_path / "queue.log").read_text())
        with archive(tmp_path / "archive", to):
            eventually(lambda: len(list((tmp_path / "archive").iterdir())) == 6)


def test_what_is_no_frontal_chest_radiograph_is_answered_and_skipped(model_file, tmp_path):
    port = free_port()
    secondary = {"SOPClassUID": SecondaryCaptureImageStorage}
    others = [
        chest(1, ViewPosition="LL"),
        chest(2, BodyPartExamined="HAND"),
        chest(3, Modality="CT", **secondary),
        chest(4, Manufacturer="covidcxr", **secondary),
        chest(5, grey=CHEST[:90, :90]),
    ]
    files = pictures(tmp_path / "in", *others, chest(6, ViewPosition=None, BodyPartExamined=None))
    with node(tmp_path / "queue", model_file, port):
        assert send(port, *files).returncode == 0
        log = eventually(lambda: (text := (tmp_path / "queue.log").read_text()).count("scored: ") and text)
        eventually(lambda: (tmp_path / "queue.log").read_text().count("skipped: ") == 5)
    assert "scored: 2.25.1006" in log
    for reason in ("ViewPosition", "BodyPartExamined", "Modality", "own result", "not a frontal chest radiograph"):
        assert reason in (tmp_path / "queue.log").read_text()


def test_only_known_callers_and_only_under_our_own_name(model_file, tmp_path):
    port = free_port()
    with node(tmp_path / "queue", model_file, port, "--allow", "MODALITY", "--allow", "PACS"):
        assert echo(port)
        assert echo(port, calling="PACS")
        assert not echo(port, calling="STRANGER")
        assert not echo(port, called="OTHER")
    assert "association rejected: STRANGER at 127.0.0.1" in (tmp_path / "queue.log").read_text()


def test_no_name_and_no_number_of_a_patient_reaches_the_log_or_stays_on_disk(model_file, tmp_path):
    port, to = free_port(), free_port()
    secret, folder = [*NAME.split("^"), PATIENT_ID], tmp_path / "in"
    files = pictures(
        folder,
        chest(1),
        chest(2, ViewPosition="LL"),
        chest(3, PixelData=b"\0\0"),
        chest(4, Rows=20_000),
        chest(5, WindowCenter=1, WindowWidth=1, StudyDescription=NAME),
    )
    whole = files[0].read_bytes()
    for number, (old, new) in enumerate(
        {
            b"MONOCHROME2 ": b"GEHEIM^GERDA",  # where decoders quote what they do not know
            b"\x08\x00\x20\x00DA\x08\x0020260102": b"\x08\x00\x20\x00DA\x08\x00" + b"SECRET-4",
            b"2.25.77\x00": b"Geheim-7",
        }.items()
    ):
        assert old in whole
        path = folder / f"broken{number}.dcm"
        path.write_bytes(whole.replace(old, new).replace(b"2.25.1001\x00", b"2.25.101%d\x00" % number))
        files.append(path)
    with (
        archive(tmp_path / "archive", to),
        node(tmp_path / "queue", model_file, port, "--forward", f"ARCHIVE@127.0.0.1:{to}"),
    ):
        for file in files:
            send(port, file)
        assert send(port, files[0], calling=PATIENT_ID[:6]).returncode == 0
        eventually(lambda: (tmp_path / "queue.log").read_text().count("delivered: ") >= 2)
        eventually(lambda: waiting(tmp_path / "queue") == 0)
    log = (tmp_path / "queue.log").read_text()
    assert "failed: 2.25.1003" in log
    assert "refused: an image from STORESCU" in log or "refused: an image from MODALITY" in log
    for path in (tmp_path / "queue.log", *(tmp_path / "queue").rglob("*")):
        if path.is_file():
            content = path.read_bytes().lower()
            for word in secret:
                assert word.lower().encode() not in content, path


def test_a_node_without_a_peer_keeps_the_results(model_file, tmp_path):
    port = free_port()
    with node(tmp_path / "queue", model_file, port):
        assert send(port, *pictures(tmp_path / "in", chest())).returncode == 0
        eventually(lambda: len(list((tmp_path / "queue" / "results").glob("*.dcm"))) == 3)
    assert {ds.Modality for ds in stored(tmp_path / "queue" / "results")} == {"SR", "OT", "PR"}


def test_digital_radiographs_and_captures_are_taken_and_other_classes_are_not(model_file, tmp_path):
    port = free_port()
    taken = [
        chest(1, SOPClassUID=DigitalXRayImageStorageForPresentation, Modality="DX"),
        chest(2, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT"),
    ]
    with node(tmp_path / "queue", model_file, port):
        assert send(port, *pictures(tmp_path / "in", *taken)).returncode == 0
        assert send(port, save(chest(3, SOPClassUID=CTImageStorage), tmp_path / "ct.dcm")).returncode != 0
        eventually(lambda: (tmp_path / "queue.log").read_text().count("scored: ") == 2)


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({}, SUCCESS),
        ({"StudyInstanceUID": None}, MISMATCH),
        ({"SeriesInstanceUID": "A^B"}, MISMATCH),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_is_answered(elements, status, running):
    entity = AE("MODALITY")
    ds = chest(2000 + len(str(elements)), **elements)
    entity.add_requested_context(ds.SOPClassUID)
    association = entity.associate("127.0.0.1", running, ae_title="COVIDCXR")
    assert association.is_established
    try:
        assert association.send_c_store(ds).Status == status
    finally:
        association.release()
    assert status in STATUSES


@pytest.fixture(scope="module")
def running(model_file, tmp_path_factory):
    """A node that many tests call; the port."""
    port, folder = free_port(), tmp_path_factory.mktemp("node") / "queue"
    limits = ["--associations", "4", "--max-megabytes", "3"]
    with node(folder, model_file, port, *limits):
        yield port


def test_an_image_that_is_too_large_is_not_read_to_its_end(running, tmp_path):
    large = chest(3000, Rows=2000, Columns=1000, PixelData=bytes(4_000_000))
    assert send(running, save(large, tmp_path / "large.dcm")).returncode != 0
    assert echo(running)


def test_a_pdu_longer_than_announced_ends_the_connection(running):
    with socket.create_connection(("127.0.0.1", running)) as client:
        client.settimeout(20)
        client.sendall(struct.pack(">BBL", 4, 0, 2**32 - 1) + bytes(MAX_PDU_BYTES))
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) in (b"", b"\x07")
    assert echo(running)


def test_connections_that_close_without_a_word_hold_no_place(running):
    for _ in range(20):
        socket.create_connection(("127.0.0.1", running)).close()
    eventually(lambda: echo(running), seconds=5)


def test_a_request_that_ends_its_thread_ends_its_connection(running):
    """A presentation context without a transfer syntax, which pynetdicom does not expect."""
    whole = request()
    context = whole.index(b"\x20\x00\x00", 74)  # the items follow 74 bytes (PS3.8 table 9-11)
    syntax = whole.index(b"\x40\x00", context)
    end = context + 4 + struct.unpack_from(">H", whole, context + 2)[0]
    body = whole[6:context] + struct.pack(">BBH", 0x20, 0, syntax - context - 4) + whole[context + 4 : syntax]
    body += whole[end:]
    with socket.create_connection(("127.0.0.1", running)) as client:
        client.settimeout(20)
        client.sendall(whole[:2] + struct.pack(">L", len(body)) + body)
        assert client.recv(1) == b""
    assert echo(running)


def test_more_associations_than_allowed_are_rejected_and_come_in_later(running):
    entity = AE("MODALITY")
    entity.add_requested_context("1.2.840.10008.1.1")
    held = [entity.associate("127.0.0.1", running, ae_title="COVIDCXR") for _ in range(4)]
    assert [association.is_established for association in held] == [True] * 4
    assert not echo(running)
    for association in held:
        association.release()
    eventually(lambda: echo(running))


def test_a_node_says_what_it_lacks(model_file, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "covidcxr", "dicom", "node", "--queue", tmp_path / "queue"]
        port = ["--port", taken.getsockname()[1], "--model", model_file]
        done = subprocess.run([*map(str, command + port)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Error: Cannot listen on 127.0.0.1" in done.stderr
    for options, message in (
        (["--forward", "nonsense"], "AET@HOST:PORT"),
        (["--tls-cert", "cert.pem"], "--tls-key"),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "Expected PEM files"),
    ):
        done = subprocess.run([*map(str, command), *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode
        assert message in done.stderr


def test_a_queue_is_used_by_one_node_and_left_in_order(model_file, tmp_path):
    port = free_port()
    with node(tmp_path / "queue", model_file, port) as server:
        command = [sys.executable, "-m", "covidcxr", "dicom", "node", "--port", "0", "--queue", tmp_path / "queue"]
        done = subprocess.run(
            [*map(str, command), "--model", str(model_file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert "Another process is using" in done.stderr
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    assert not listens(port)


# Parts.


def answers_of(queue, *datasets, **settings):
    """Send images to a node in this process that scores nothing; return its answers."""
    node, entity = Node(queue, NodeSettings(port=0, **settings)), AE("MODALITY")
    entity.add_requested_context(chest().SOPClassUID)
    association = entity.associate("127.0.0.1", node.start(), ae_title="COVIDCXR")
    try:
        return [association.send_c_store(ds).Status for ds in datasets]
    finally:
        association.release()
        node.stop()


def test_senders_are_asked_to_come_again_when_too_many_images_wait(tmp_path):
    with Queue(tmp_path, "brightness@0") as queue:
        images = [chest(1), chest(2), chest(1), chest(3)]
        answered = answers_of(queue, *images, backlog=2)
        assert answered == [SUCCESS, SUCCESS, SUCCESS, NO_RESOURCES]  # the third is known
        assert queue.backlog == queue.counts()[State.RECEIVED] == 2


def test_senders_that_are_too_fast_wait_for_their_answers(tmp_path):
    with Queue(tmp_path, "brightness@0") as queue:
        started = time.monotonic()
        answered = answers_of(queue, chest(1), chest(2), chest(3), images_per_second=4)
        assert answered == [SUCCESS] * 3
        assert time.monotonic() - started >= 0.5


def test_what_cannot_be_written_is_not_acknowledged(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(f"no space left for {NAME}")

    with Queue(tmp_path, "brightness@0") as queue:
        monkeypatch.setattr("covidcxr._files.os.fsync", full)
        assert answers_of(queue, chest()) == [NO_RESOURCES]
        assert not queue.knows(chest().SOPInstanceUID)
        assert waiting(tmp_path) == 0
        monkeypatch.undo()
        assert answers_of(queue, chest()) == [SUCCESS]
    assert NAME not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("covidcxr"))


def test_the_rate_limiter():
    limiter, started = RateLimiter(50), time.monotonic()
    threads = [threading.Thread(target=limiter.wait) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.2 <= time.monotonic() - started < 2
    started = time.monotonic()
    for _ in range(100):
        RateLimiter(None).wait()
    assert time.monotonic() - started < 0.5


def test_peers():
    peer = StorePeer.parse("PACS@[::1]:104", calling="COVIDCXR")
    assert (peer.title, peer.host, peer.port) == ("PACS", "::1", 104)
    for wrong in ("PACS", "PACS@host", "@host:1", "PACS@host:0", "PACS@host:99999", "A" * 17 + "@host:1"):
        with pytest.raises(ValueError, match="AET@HOST:PORT"):
            StorePeer.parse(wrong, calling="COVIDCXR")


def test_the_node_imports_nothing_of_training():
    forbidden = ["tensorflow", "keras", "onnx", "pandas", "scipy", "sklearn", "matplotlib", "pydantic"]
    code = (
        "import sys, json; import covidcxr.dicom.node.service, covidcxr.dicom.node.peer, covidcxr.dicom.node.tls, "
        "covidcxr.dicom.results.capture, covidcxr.dicom.results.presentation; "
        f"print(json.dumps([name for name in {forbidden} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
