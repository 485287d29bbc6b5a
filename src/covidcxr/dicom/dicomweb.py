"""DICOMweb (PS3.18): find images by QIDO-RS, retrieve them by WADO-RS, store results by STOW-RS."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from requests.auth import AuthBase

from covidcxr.dicom.node.eligibility import skip_reason
from covidcxr.dicom.node.logs import is_uid
from covidcxr.dicom.node.queue import Queue, State
from covidcxr.dicom.node.work import PeerError, QueueScorer, ResultSender

MAX_PAGES: Final = 10_000
"""Largest number of pages of one search."""

logger = logging.getLogger(__name__)


class TokenFile(AuthBase):
    """Bearer token (RFC 6750) in a file that is read for each request, so that another program can renew it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to a request; raises OSError if the file cannot be read."""
        request.headers["Authorization"] = f"Bearer {self._path.read_text('utf-8').strip()}"
        return request


def client_of(url: str, login: AuthBase | None) -> DICOMwebClient:
    """Return a client of a server; without a login, it uses the one in ~/.netrc if there is one."""
    session = requests.Session()
    session.auth = login
    return DICOMwebClient(url, session=session)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Search criteria, matched by the server (PS3.18 section 8.3.4).

    Attributes:
        modalities: Modality, one of these.
        body_part: BodyPartExamined; None for any, including images without it.
        date: StudyDate as YYYYMMDD or a range YYYYMMDD-YYYYMMDD; None for any.
        patient_id: PatientID; None for any.
    """

    modalities: Sequence[str]
    body_part: str | None = None
    date: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, order=True)
class ImageAddress:
    """Address of an image on a server: UIDs of its study, of its series and its own."""

    study: str
    series: str
    instance: str


def find(client: DICOMwebClient, search: Search) -> list[ImageAddress]:
    """Return the addresses of images on a server, sorted.

    Raises:
        PeerError: The server cannot be reached, refuses, or violates the standard.
    """
    filters = {"BodyPartExamined": search.body_part, "StudyDate": search.date, "PatientID": search.patient_id}
    given = {keyword: value for keyword, value in filters.items() if value}
    found = set()
    try:
        with _as_peer_errors():
            for modality in search.modalities:
                for match in _matches(client, {"Modality": modality} | given):
                    if address := _address(match):
                        found.add(address)
                    else:
                        logger.warning("skipped: a search result without the UIDs of its study, its series and itself")
    except requests.HTTPError as error:  # its message quotes the URL, which may hold a PatientID
        raise PeerError(f"the DICOMweb server answered with status {error.response.status_code}") from None
    return sorted(found)


def _matches(client: DICOMwebClient, filters: dict[str, str]) -> Iterator[Any]:
    """Yield search results page by page; the server decides how many make a page."""
    offset = 0
    seen: set[int] = set()
    for _ in range(MAX_PAGES):
        page = client.search_for_instances(search_filters=filters, offset=offset)
        if not page:
            return
        known = len(seen)
        seen.update(hash(repr(match)) for match in page)
        if len(seen) == known:
            raise PeerError("the DICOMweb server ignores the offset of a search: a page repeats earlier results")
        yield from page
        offset += len(page)
    raise PeerError(f"the search has more than {MAX_PAGES} pages: narrow it down")


def _address(match: Any) -> ImageAddress | None:  # noqa: ANN401 - any JSON
    """Return the address in a search result (PS3.18 F.2); None if it is incomplete."""
    try:
        uids = [str(match[tag]["Value"][0]) for tag in ("0020000D", "0020000E", "00080018")]
    except (KeyError, IndexError, TypeError):
        return None
    return ImageAddress(*uids) if all(map(is_uid, uids)) else None


@dataclass(frozen=True, kw_only=True)
class WebPeer:
    """Server that receives results by STOW-RS.

    Attributes:
        client: Client of the server.
    """

    client: DICOMwebClient

    @contextmanager
    def connect(self) -> Iterator[Callable[[Path], bool]]:
        """Yield a function that sends one file and tells whether the server accepted it; raises PeerError."""

        def send(path: Path) -> bool:
            result = pydicom.dcmread(path)
            try:
                with _as_peer_errors():
                    answer = self.client.store_instances([result])
            except requests.HTTPError:
                return False
            return not answer.get("FailedSOPSequence")

        yield send


@contextmanager
def _as_peer_errors() -> Iterator[None]:
    """Turn errors of the connection or the protocol into PeerError; an error status stays requests.HTTPError."""
    try:
        yield
    except requests.HTTPError:
        raise
    except (OSError, KeyError, IndexError, ValueError) as error:  # requests' own errors are OSErrors
        raise PeerError(f"no usable answer from the DICOMweb server: {type(error).__name__}") from error


def pull(
    client: DICOMwebClient, search: Search, queue: Queue, scorer: QueueScorer, sender: ResultSender
) -> dict[State, int]:
    """Score every image of a search that was not scored before, and store the results.

    After an interruption, another call with the same queue continues.

    Returns:
        Number of images of the queue in each state. Results of SCORED images could not be stored; call again for them.

    Raises:
        PeerError: The server cannot be reached, or violates the standard.
    """
    for address in find(client, search):
        if not queue.knows(address.instance):
            _retrieve(client, address, queue)
        while scorer.step():
            pass
        sender.step()
    while sender.step():
        pass
    return queue.counts()


def _retrieve(client: DICOMwebClient, address: ImageAddress, queue: Queue) -> None:
    """Retrieve one image into the queue."""
    try:
        ds = client.retrieve_instance(address.study, address.series, address.instance)
        reason = skip_reason(ds)
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
    except requests.HTTPError as error:
        logger.warning("not retrieved: %s: status %d", address.instance, error.response.status_code)
    except OSError as error:  # requests' own errors are OSErrors
        raise PeerError(f"no usable answer from the DICOMweb server: {type(error).__name__}") from error
    except Exception as error:  # pydicom raises anything, and its messages may quote a name
        logger.warning("not retrieved: %s: %s", address.instance, type(error).__name__)
    else:
        if reason:
            queue.skip(address.instance)
            logger.info("skipped: %s: %s", address.instance, reason)
        else:
            queue.add(address.instance, buffer.getvalue())
