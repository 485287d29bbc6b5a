"""Examples to try the page with: a drawing, and published radiographs that the server fetches when somebody asks.

No picture of a collection is part of the package. What is fetched stays in memory, as it is the same for everybody.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from threading import Lock
from urllib.parse import quote

from covidcxr.errors import DownloadError

COMMIT = "6a4242344473ccb5ed0d2148d8c7bfb1691e4ed8"
BASE = f"https://raw.githubusercontent.com/ieee8023/covid-chestxray-dataset/{COMMIT}/images"
"""The COVID-19 Image Data Collection at the commit that covidcxr.data.sources pins too."""
TIMEOUT = 5.0
"""Seconds to connect, and without a byte."""
MAX_BYTES = 8 * 2**20
DRAWN = "drawing"
"""Name of the synthetic radiograph, which needs no server."""
KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""First bytes of the kinds of picture that are passed on, and their media types."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A published radiograph.

    Attributes:
        name: Short name in addresses.
        file: File name in the collection.
        title: What its publisher says that it shows.
        licence: As the collection's metadata give it.
        credit: Whom to name, as the collection's metadata say it.
        page: Where it was published first.
        sha256: Expected hash, 64 hex digits; empty where nobody has recorded it: the commit in the address names the
            content, but only the server vouches for it.
    """

    name: str
    file: str
    title: str
    licence: str
    credit: str
    page: str
    sha256: str = ""


SAMPLES = (
    Sample(
        name="covid-1",
        file="covid-19-pneumonia-7-PA.jpg",
        title="COVID-19",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Domenico Nicoletti, Radiopaedia.org, rID: 74724.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-7",
    ),
    Sample(
        name="covid-2",
        file="covid-19-pneumonia-30-PA.jpg",
        title="COVID-19",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Bahman Rasuli, Radiopaedia.org, rID: 75330.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-30",
    ),
    Sample(
        name="pneumonia-1",
        file="streptococcus-pneumoniae-pneumonia-1.jpg",
        title="Pneumonia, Streptococcus",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Yair Glick, Radiopaedia.org, rID: 68055.",
        page="https://radiopaedia.org/cases/streptococcus-pneumoniae-pneumonia-1",
    ),
    Sample(
        name="pneumonia-2",
        file="legionella-pneumonia-1.png",
        title="Pneumonia, Legionella",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Henry Knipe, Radiopaedia.org, rID: 45780.",
        page="https://radiopaedia.org/cases/legionella-pneumonia-1",
    ),
    Sample(
        name="normal-1",
        file="covid-19-pneumonia-58-prior.jpg",
        title="No finding",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Seamus O'Flaherty, Radiopaedia.org, rID: 75637.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-58",
    ),
)
"""Licence and credit as metadata.csv gives them."""


class Gallery:
    """The published examples, fetched once each. Safe to share between threads.

    Attributes:
        samples: By name.
    """

    def __init__(self, base: str = BASE, samples: tuple[Sample, ...] = SAMPLES, timeout: float = TIMEOUT) -> None:
        self.samples = {sample.name: sample for sample in samples}
        self._base = base
        self._timeout = timeout
        self._fetched: dict[str, bytes] = {}
        self._lock = Lock()

    def reachable(self) -> bool:
        """Tell whether the collection can be reached: by its first example, which the page shows next anyway."""
        try:
            self.fetch(next(iter(self.samples)))
        except (DownloadError, StopIteration):
            return False
        return True

    def fetch(self, name: str) -> tuple[bytes, str]:
        """Return an example and its media type.

        Raises:
            KeyError: No such example.
            DownloadError: The server cannot be reached or sends something else.
        """
        sample = self.samples[name]
        with self._lock:  # one at a time: the page asks for all of them at once
            if name not in self._fetched:
                self._fetched[name] = self._download(sample)
            data = self._fetched[name]
        return data, _media_type(data)

    def _download(self, sample: Sample) -> bytes:
        from http.client import HTTPException  # here: most servers never fetch anything
        from urllib.error import HTTPError
        from urllib.request import urlopen

        url = f"{self._base}/{quote(sample.file)}"
        try:
            with urlopen(url, timeout=self._timeout) as response:
                data: bytes = response.read(MAX_BYTES + 1)
        except (OSError, HTTPException) as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            raise DownloadError(f"Expected the example {url}. Received: {error}.") from error
        received = hashlib.sha256(data).hexdigest()
        if sample.sha256 and received != sample.sha256:
            raise DownloadError(f"Expected sha256 {sample.sha256} from {url}. Received {received}.")
        if len(data) > MAX_BYTES or not _media_type(data):
            raise DownloadError(
                f"Expected a PNG or JPEG of at most {MAX_BYTES} bytes from {url}. Received another file."
            )
        return data


@cache
def draw() -> bytes:
    """Return a PNG of a synthetic radiograph with opacities in both lungs; no patient is in it."""
    import numpy as np
    from PIL import Image

    from covidcxr.images.phantom import Opacity, radiograph

    spots = [Opacity(x=x, y=y, radius=0.075, strength=0.26) for x in (0.23, 0.3, 0.74, 0.8) for y in (0.53, 0.64)]
    file = BytesIO()
    Image.fromarray(radiograph(np.random.default_rng(7), size=(720, 640), opacities=spots)).save(file, "PNG")
    return file.getvalue()


def _media_type(data: bytes) -> str:
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), "")
