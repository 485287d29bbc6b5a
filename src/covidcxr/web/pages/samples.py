"""Examples to try the page with: a drawing, and published radiographs that the server fetches on demand.

The package contains no picture of a collection. Fetched pictures stay in memory; they are the same for everybody.
"""

import hashlib
import logging
import time
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from threading import Lock, Thread
from urllib.parse import quote

from covidcxr.data.sources.covid_chestxray import ARCHIVE
from covidcxr.errors import DownloadError

BASE = f"https://raw.githubusercontent.com/{ARCHIVE.repo}/{ARCHIVE.commit}/images"
"""Folder of the images of the COVID-19 Image Data Collection."""
TIMEOUT = 3.0
"""Seconds to connect, and between two bytes."""
OVERDUE = 10.0
"""Seconds after which examples that have not arrived are treated as unavailable."""
RETRY_AFTER = 300.0
"""Seconds until a failed download is tried again."""
MAX_BYTES = 8 * 2**20
DRAWN = "drawing"
"""Name of the synthetic radiograph, which needs no download."""
KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""First bytes of the accepted formats, and their media types."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PublishedSample:
    """A published radiograph.

    Attributes:
        name: Short name for addresses.
        file: File name in the collection.
        title: Finding according to the publisher.
        licence: Licence according to the collection's metadata.
        credit: Author to name, according to the collection's metadata.
        page: Address of the first publication.
        sha256: Expected hash, 64 hex digits; empty where none was recorded: the commit in the address identifies the
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
    PublishedSample(
        name="covid-1",
        file="covid-19-pneumonia-7-PA.jpg",
        title="COVID-19",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Domenico Nicoletti, Radiopaedia.org, rID: 74724.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-7",
    ),
    PublishedSample(
        name="covid-2",
        file="covid-19-pneumonia-30-PA.jpg",
        title="COVID-19",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Bahman Rasuli, Radiopaedia.org, rID: 75330.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-30",
    ),
    PublishedSample(
        name="pneumonia-1",
        file="streptococcus-pneumoniae-pneumonia-1.jpg",
        title="Pneumonia, Streptococcus",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Yair Glick, Radiopaedia.org, rID: 68055.",
        page="https://radiopaedia.org/cases/streptococcus-pneumoniae-pneumonia-1",
    ),
    PublishedSample(
        name="pneumonia-2",
        file="legionella-pneumonia-1.png",
        title="Pneumonia, Legionella",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Henry Knipe, Radiopaedia.org, rID: 45780.",
        page="https://radiopaedia.org/cases/legionella-pneumonia-1",
    ),
    PublishedSample(
        name="normal-1",
        file="covid-19-pneumonia-58-prior.jpg",
        title="No finding",
        licence="CC BY-NC-SA",
        credit="Case courtesy of Dr Seamus O'Flaherty, Radiopaedia.org, rID: 75637.",
        page="https://radiopaedia.org/cases/covid-19-pneumonia-58",
    ),
)
"""Licence and credit as in metadata.csv."""


class Gallery:
    """The published examples, each fetched once, in the background: no request waits for another server.

    Safe to share between threads.

    Args:
        base: Address of the folder with the files.
        samples: Examples to offer.
        timeout: Seconds to connect, and between two bytes.
    """

    def __init__(
        self, base: str = BASE, samples: tuple[PublishedSample, ...] = SAMPLES, timeout: float = TIMEOUT
    ) -> None:
        self.samples = {sample.name: sample for sample in samples}
        self._base = base
        self._timeout = timeout
        self._fetched: dict[str, bytes] = {}
        self._downloading: set[str] = set()
        self._started = -RETRY_AFTER
        self._lock = Lock()

    def fetch(self) -> bool:
        """Start to download what is missing, unless that was tried a short time ago.

        Returns:
            Whether downloads are in progress that may still succeed.
        """
        with self._lock:
            if time.monotonic() - self._started >= RETRY_AFTER:
                missing = self.samples.keys() - self._fetched.keys() - self._downloading
                self._downloading |= missing
                self._started = time.monotonic()
                for name in missing:
                    Thread(target=self._keep, args=(self.samples[name],), daemon=True).start()
            return bool(self._downloading) and time.monotonic() - self._started < OVERDUE

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return an example and its media type; None if it has not been downloaded."""
        data = self._fetched.get(name)
        return (data, _media_type(data)) if data is not None else None

    def _keep(self, sample: PublishedSample) -> None:
        try:
            self._fetched[sample.name] = self._download(sample)
        except DownloadError as error:
            logger.warning("%s", error)
        finally:
            with self._lock:
                self._downloading.discard(sample.name)

    def _download(self, sample: PublishedSample) -> bytes:
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
            raise DownloadError(f"Cannot download the example {url}: {error}.") from error
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
    """Return a PNG of a synthetic radiograph with opacities in both lungs, of no patient."""
    import numpy as np
    from PIL import Image

    from covidcxr.images.phantom import Opacity, radiograph

    spots = [Opacity(x=x, y=y, radius=0.075, strength=0.26) for x in (0.23, 0.3, 0.74, 0.8) for y in (0.53, 0.64)]
    file = BytesIO()
    Image.fromarray(radiograph(np.random.default_rng(7), size=(720, 640), opacities=spots)).save(file, "PNG")
    return file.getvalue()


def _media_type(data: bytes) -> str:
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), "")
