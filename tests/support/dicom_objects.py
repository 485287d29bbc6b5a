"""DICOM objects of one drawn radiograph, for the tests of everything that reads them."""

import io

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from covidcxr.images.decode import decode_image
from covidcxr.images.phantom import radiograph

GREY = radiograph(np.random.default_rng(0), size=(192, 160))
DEEP = GREY.astype(np.uint16) * 16  # 12 bits


def overridden(ds, elements):
    """The object with these elements, by keyword, in place of its own; None deletes one."""
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def dicom(stored, *, syntax=ExplicitVRLittleEndian, bits=None, **elements):
    """A computed radiograph of these stored values; ``elements`` overrides any element, None deletes it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["test"])
    ds.Modality = "CR"
    ds.Rows, ds.Columns = stored.shape[:2]
    ds.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * stored.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes()
    return overridden(ds, elements)


def write(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def decode(ds):
    return decode_image(write(ds), "test.dcm")


def difference(grey, expected):
    assert grey.shape == expected.shape
    assert grey.dtype == np.uint8
    return np.abs(grey.astype(int) - expected).max()


def lookup_table(entries, first, bits, vr="OW"):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    entries = np.asarray(entries, dtype="<u2")
    item.add_new("LUTData", vr, entries.tolist() if vr == "US" else entries.tobytes())
    return [item]


def recode(ds, folder, syntax):
    """Let GDCM write the object in another transfer syntax."""
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(write(ds))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def gdcm_uid(syntax):
    return gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)).GetString()


def encapsulated(stored, frame, syntax, **elements):
    ds = dicom(stored, **elements)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return ds
