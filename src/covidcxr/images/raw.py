"""Raw images of the JSRT database: 2048 x 2048 pixels without a header (Shiraishi et al. 2000)."""

import numpy as np

from covidcxr.images.grey import DISPLAY_PERCENTILES, Grey, to_grey

SIDE = 2048
"""Rows and columns in pixels of 0.175 mm (http://db.jsrt.or.jp/eng.php)."""
BITS = 12
"""Bits used of the 16 of each pixel, which is stored with its upper byte first."""
RAW_BYTES = 2 * SIDE * SIDE


def is_jsrt_raw(data: bytes) -> bool:
    """Return whether a file has the size of a raw JSRT image and no pixel of more than 12 bits."""
    return len(data) == RAW_BYTES and int(_pixels(data).max()) < 1 << BITS


def decode_jsrt_raw(data: bytes) -> Grey:
    """Decode a raw JSRT image.

    The values are optical densities of film, so bones are dark: they are inverted, then shown between
    DISPLAY_PERCENTILES.

    Args:
        data: Content of the file, for which is_jsrt_raw holds.
    """
    values = (1 << BITS) - 1 - _pixels(data).astype(np.float32)
    low, high = np.percentile(values, DISPLAY_PERCENTILES)
    return to_grey(values, float(low), float(high))


def _pixels(data: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.frombuffer(data, ">u2").reshape(SIDE, SIDE)
