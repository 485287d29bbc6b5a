"""Decode lossless JPEG, 12-bit JPEG and JPEG-LS frames with GDCM, in a separate process.

GDCM crashes on many broken frames (an uncaught C++ exception or a segmentation fault), which must not end a server or a
run over a million files. The process costs under 0.1 s and imports only GDCM.
"""

import json
import subprocess
import sys

from covidcxr.errors import ImageError

TIMEOUT_S = 60


def decode_frame(
    frame: bytes,
    *,
    transfer_syntax: str,
    photometric: str,
    size: tuple[int, int, int],
    planar: int,
    bits: tuple[int, int],
    signed: bool,
) -> bytes:
    """Decode one frame.

    Args:
        frame: Encoded frame.
        transfer_syntax: UID of its transfer syntax, JPEG or JPEG-LS.
        photometric: PhotometricInterpretation.
        size: Columns, Rows and SamplesPerPixel.
        planar: PlanarConfiguration.
        bits: BitsAllocated and BitsStored of the decoded frame.
        signed: Whether PixelRepresentation is 1.

    Returns:
        Pixels, little endian, of BitsAllocated bits each.

    Raises:
        ImageError: The frame is broken, or decoding takes longer than TIMEOUT_S.
    """
    what = json.dumps([transfer_syntax, photometric, size, planar, bits, signed])
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, what],
            input=frame,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"a compressed frame that takes more than {TIMEOUT_S} s to decode") from error
    if done.returncode or len(done.stdout) != size[0] * size[1] * size[2] * bits[0] // 8:
        raise ImageError("a broken compressed frame")
    return done.stdout


def main() -> None:
    """Decode the frame on standard input, described by the first argument, and write its pixels to standard output."""
    import gdcm

    transfer_syntax, photometric, (columns, rows, samples), planar, (allocated, stored), signed = json.loads(
        sys.argv[1]
    )
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if samples > 1:
        image.SetPlanarConfiguration(planar)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(transfer_syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, stored, stored - 1, int(signed)))
    pixels = image.GetBuffer()  # char* as str
    sys.stdout.buffer.write(pixels.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
