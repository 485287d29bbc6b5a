"""What a PDF of covidcxr.web.pdf says."""

import re
import zlib


def text_of(pdf):
    """Return the text, and check that it is one page."""
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b(?!s)", pdf)) == 1
    content = b"".join(_inflated(stream) for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL))
    words = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", content)
    return " ".join(re.sub(rb"\\(.)", rb"\1", word).decode("latin-1") for word in words)


def _inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""  # a JPEG
