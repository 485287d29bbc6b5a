"""DICOMweb (PS3.18): find images by QIDO-RS, fetch them by WADO-RS, store results by STOW-RS."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from requests.auth import AuthBase

from covidcxr.dicom.node.eligibility import SOP_CLASSES, refusal
from covidcxr.dicom.node.logs import is_uid
from covidcxr.dicom.node.queue import Queue, State
from covidcxr.dicom.node.work import PeerError, Scorer, Sender

logger = logging.getLogger(__name__)


class TokenFile(AuthBase):
    """Bearer token (RFC 6750) in a file, read anew for each request: another program may renew it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to a request; OSError if it cannot be read."""
        request.headers["Authorization"] = f"Bearer {self._path.read_text('utf-8').strip()}"
        return request


def client_of(url: str, login: AuthBase | None) -> DICOMwebClient:
    """Return what talks to a server; without a login, ~/.netrc is asked for one."""
    session = requests.Session()
    session.auth = login
    return DICOMwebClient(url, session=session)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which images to look for; the server matches (PS3.18 section 8.3.4).

    Attributes:
        modalities: Modality, any of them.
        body_part: BodyPartExamined; None for any, also where images do not say it.
        date: StudyDate as YYYYMMDD or a range YYYYMMDD-YYYYMMDD; None for any.
        patient_id: PatientID; None for any.
    """

    modalities: Sequence[str]
    body_part: str | None = None
    date: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, order=True)
class Address:
    """Where an image is on a server: the UIDs of its study, its series and itself."""

    study: str
    series: str
    instance: str


def find(client: DICOMwebClient, search: Search) -> list[Address]:
    """Ask a server for images.

    Raises:
        PeerError: It cannot be reached, refuses, or does not answer as the standard says.
    """
    filters = {"BodyPartExamined": search.body_part, "StudyDate": search.date, "PatientID": search.patient_id}
    given = {keyword: value for keyword, value in filters.items() if value}
    found = set()
    try:
        with _as_peer_errors():
            for modality in search.modalities:
                wanted = {"Modality": modality} | given
                for match in client.search_for_instances(search_filters=wanted, get_remaining=True):
                    uids = [str(match[tag]["Value"][0]) for tag in ("0020000D", "0020000E", "00080018")]
                    if all(map(is_uid, uids)):
                        found.add(Address(*uids))
    except requests.HTTPError as error:  # its message quotes the address, with the PatientID that was asked for
        raise PeerError(f"the DICOMweb server: status {error.response.status_code}") from None
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class WebPeer:
    """A server that takes results by STOW-RS.

    Attributes:
        client: For its address.
    """

    client: DICOMwebClient

    @contextmanager
    def connect(self) -> Iterator[Callable[[Path], bool]]:
        """Give what sends one file and tells whether the server took it; raises PeerError."""

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
    """Turn what ends a conversation into PeerError; an answer with an error status stays requests.HTTPError."""
    try:
        yield
    except requests.HTTPError:
        raise
    except (OSError, KeyError, IndexError, ValueError) as error:  # requests' own errors are OSErrors
        raise PeerError(f"the DICOMweb server: {type(error).__name__}") from error


def pull(client: DICOMwebClient, search: Search, queue: Queue, scorer: Scorer, sender: Sender) -> dict[State, int]:
    """Score every image of a search that was not scored before, and store the results.

    Stopped at any moment, it goes on where it was when it is called again with the same queue.

    Returns:
        What became of all images that the queue knows. SCORED ones could not be stored: call again.

    Raises:
        PeerError: The server cannot be reached, or does not answer as the standard says.
    """
    for address in find(client, search):
        if not queue.knows(address.instance):
            _take(client, address, queue)
        while scorer.step():
            pass
        sender.step()
    while sender.step():
        pass
    return queue.counts()


def _take(client: DICOMwebClient, address: Address, queue: Queue) -> None:
    """Fetch one image into the queue."""
    try:
        ds = client.retrieve_instance(address.study, address.series, address.instance)
        reason = "SOP class" if ds.SOPClassUID not in SOP_CLASSES else refusal(ds)
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
    except requests.HTTPError as error:
        logger.warning("not fetched: %s: status %d", address.instance, error.response.status_code)
    except OSError as error:  # requests' own errors are OSErrors
        raise PeerError(f"the DICOMweb server: {type(error).__name__}") from error
    except Exception as error:  # whatever pydicom raises on what breaks the standard; its message may quote a name
        logger.warning("not fetched: %s: %s", address.instance, type(error).__name__)
    else:
        if reason:
            queue.leave_alone(address.instance, reason)
            logger.info("left alone: %s: %s", address.instance, reason)
        else:
            queue.add(address.instance, buffer.getvalue())
