"""Every transfer syntax that the node accepts: what arrives decodes to what was sent, within the syntax's loss."""

import io
import subprocess

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE

from covidcxr.dicom.node.queue import Queue
from covidcxr.dicom.node.server import SUCCESS, TRANSFER_SYNTAXES, Node, NodeSettings
from covidcxr.images.decode import decode_image, read_image
from support.dicom_node import CHEST, capture_of, chest, save
from support.environment import program

DCMTK = {
    "1.2.840.10008.1.2.4.50": ("dcmcjpeg", "+eb", "+q", "95"),
    "1.2.840.10008.1.2.4.51": ("dcmcjpeg", "+ee", "+q", "95"),
    "1.2.840.10008.1.2.4.57": ("dcmcjpeg", "+el"),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", "+e1"),
    "1.2.840.10008.1.2.4.80": ("dcmcjpls", "+el"),
    "1.2.840.10008.1.2.4.81": ("dcmcjpls", "+en", "+md", "2"),
    "1.2.840.10008.1.2.5": ("dcmcrle",),
    ExplicitVRBigEndian: ("dcmconv", "+tb"),
    ImplicitVRLittleEndian: ("dcmconv", "+ti"),
    ExplicitVRLittleEndian: ("dcmconv", "+te"),
}
"""What writes each syntax; Debian's dcmtk writes no JPEG 2000."""
LOSS = {"1.2.840.10008.1.2.4.50": 12, "1.2.840.10008.1.2.4.51": 12, "1.2.840.10008.1.2.4.81": 2, JPEG2000: 12}
"""Grey values of 255 at the settings above; JPEG-LS holds to what it is told, and the others lose nothing."""


def deep():
    return chest(WindowCenter=2048, WindowWidth=4096)


def shallow():
    depth = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return chest(PixelData=CHEST.tobytes(), **depth)


def colour():
    """A film that was scanned; dcmtk stores its lossy JPEG as YBR_FULL_422."""
    return capture_of(CHEST)


def encoded(ds, syntax, folder):
    """Return the file of an image in a transfer syntax."""
    source, target = save(ds, folder / "source.dcm"), folder / "target.dcm"
    if syntax in DCMTK:
        name, *options = DCMTK[syntax]
        subprocess.run([program(name, "dcmtk"), *options, source, target], check=True, capture_output=True)
        return target
    buffer = io.BytesIO()
    lossy = {"irreversible": True, "quality_layers": [5]} if syntax == JPEG2000 else {}
    Image.fromarray(ds.pixel_array).save(buffer, "JPEG2000", no_jp2=True, **lossy)
    ds.PixelData = encapsulate([buffer.getvalue()])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = syntax
    return save(ds, target)


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [(kind, syntax) for kind in (shallow, colour) for syntax in TRANSFER_SYNTAXES]
    + [(deep, syntax) for syntax in TRANSFER_SYNTAXES if syntax != JPEGBaseline8Bit],
)
def test_what_arrives_decodes_to_what_was_sent(kind, syntax, tmp_path):
    expected = read_image(save(kind(), tmp_path / "plain.dcm"))
    file = encoded(kind(), syntax, tmp_path)
    entity = AE("MODALITY")
    entity.add_requested_context(kind().SOPClassUID, syntax)
    with Queue(tmp_path / "queue", "brightness@0") as queue:
        node = Node(queue, NodeSettings(port=0))
        association = entity.associate("127.0.0.1", node.start(), ae_title="COVIDCXR")
        assert association.is_established
        status = association.send_c_store(file).Status
        association.release()
        node.stop()
        assert status == SUCCESS
        received = queue.read(queue.next_received())
    assert pydicom.dcmread(io.BytesIO(received)).file_meta.TransferSyntaxUID == syntax
    difference = np.abs(decode_image(received, "received").astype(int) - expected)
    assert difference.max() <= LOSS.get(syntax, 0)
