"""``covidcxr dicom``: DICOM node, DICOMweb client and de-identification."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import is_loopback, model_option

if TYPE_CHECKING:
    from requests.auth import AuthBase

FILE = click.Path(dir_okay=False, path_type=Path)
PASSWORD = "COVIDCXR_DICOMWEB_PASSWORD"
"""Environment variable with the password of --user; other users of the machine can see options."""

queue_option = click.option(
    "--queue",
    default="covidcxr-queue",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for images and results in progress. They contain patient data.",
)


@click.group(name="dicom", epilog=DISCLAIMER)
def command() -> None:
    """Score DICOM images of a hospital's network, and de-identify images."""
    from covidcxr.errors import require_extra

    require_extra("dicom", "pynetdicom", "highdicom", "contourpy", "dicomweb_client", "dicomanonymizer")


@command.command(epilog=DISCLAIMER, context_settings={"show_default": True})
@click.option("--ae-title", default="COVIDCXR", help="Application entity title of the node.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all interfaces.")
@click.option("--port", default=11112, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option(
    "--forward", metavar="AET@HOST:PORT", help="Peer that receives the results. [default: keep them in the queue]"
)
@click.option("--forward-tls", is_flag=True, help="Send results over TLS; needs --tls-cert.")
@click.option("--allow", multiple=True, metavar="AET", help="Title of a caller to accept; repeatable. [default: all]")
@queue_option
@model_option
@click.option("--tls-cert", type=FILE, help="Certificate of the node, PEM; enables TLS.")
@click.option("--tls-key", type=FILE, help="Private key of the certificate, PEM.")
@click.option("--tls-ca", type=FILE, help="Authority of the certificates of peers, PEM.")
@click.option("--associations", default=16, type=click.IntRange(1, 500), help="Maximum of open associations.")
@click.option("--max-megabytes", default=200, type=click.IntRange(1), help="Maximum size of an image.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Maximum of images per second. [default: none]")
@click.option("--backlog", default=10_000, type=click.IntRange(1), help="Maximum of images waiting to be scored.")
def node(
    ae_title: str,
    host: str,
    port: int,
    forward: str | None,
    forward_tls: bool,
    allow: tuple[str, ...],
    queue: Path,
    model: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    associations: int,
    max_megabytes: int,
    rate: float | None,
    backlog: int,
) -> None:
    """Receive images by C-STORE, score chest radiographs and send the results by C-STORE, until Ctrl-C or SIGTERM."""
    from covidcxr.dicom.node import logs
    from covidcxr.dicom.node.peer import StorePeer
    from covidcxr.dicom.node.server import NodeSettings
    from covidcxr.dicom.node.service import serve
    from covidcxr.dicom.node.tls import Certificates
    from covidcxr.prediction.predictor import Predictor

    if (tls_cert is None) != (tls_key is None) or (tls_cert is None and (tls_ca or forward_tls)):
        raise click.UsageError("Expected --tls-cert and --tls-key for TLS. Received only some of the TLS options.")
    tls = Certificates(certificate=tls_cert, key=tls_key, authority=tls_ca) if tls_cert and tls_key else None
    try:
        sending = tls.client() if tls and forward_tls else None
        peer = StorePeer.parse(forward, calling=ae_title, tls=sending) if forward else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--forward") from error
    logs.configure()
    settings = NodeSettings(
        ae_title=ae_title,
        host=host,
        port=port,
        allow=allow,
        tls=tls.server() if tls else None,
        associations=associations,
        message_bytes=1_000_000 * max_megabytes,
        images_per_second=rate,
        backlog=backlog,
    )

    def ready(listening: int, model_name: str) -> None:
        click.echo(f"{ae_title} listens on {host}, port {listening}. Model: {model_name}. Stop with Ctrl-C.")
        if not is_loopback(host) and not (tls_ca and allow):
            click.echo(
                "Other machines can reach this node. Restrict it with --tls-cert, --tls-key, --tls-ca and --allow."
            )
        click.echo(DISCLAIMER)

    serve(settings, queue, Predictor.load(model), peer, ready)


@command.command(epilog=DISCLAIMER, context_settings={"show_default": True})
@click.option("--dicomweb", "url", required=True, metavar="URL", help="DICOMweb server.")
@click.option("--user", metavar="NAME", help=f"User name; the password is read from {PASSWORD}. [default: ~/.netrc]")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a bearer token, read for every request.",
)
@click.option("--modality", multiple=True, default=("CR", "DX"), help="Modality of the images; repeatable.")
@click.option("--body-part", help="BodyPartExamined, such as CHEST. [default: any]")
@click.option("--date", help="StudyDate, YYYYMMDD or YYYYMMDD-YYYYMMDD. [default: any]")
@click.option("--patient-id", help="PatientID. [default: any]")
@queue_option
@model_option
def pull(
    url: str,
    user: str | None,
    token_file: Path | None,
    modality: tuple[str, ...],
    body_part: str | None,
    date: str | None,
    patient_id: str | None,
    queue: Path,
    model: Path | None,
) -> None:
    """Find images on a DICOMweb server, score the new ones and store the results there.

    Run the command again to continue after an interruption, or to score images that have arrived since.
    """
    from covidcxr.dicom.dicomweb import Search, WebPeer, client_of
    from covidcxr.dicom.dicomweb import pull as pull_all
    from covidcxr.dicom.node import logs
    from covidcxr.dicom.node.queue import Queue, State
    from covidcxr.dicom.node.work import PeerError, QueueScorer, ResultSender
    from covidcxr.prediction.predictor import Predictor

    logs.configure()
    address = urlsplit(url)
    if address.username or address.password:
        raise click.BadParameter("Expected a URL without a login. Pass the login by --user.", param_hint="--dicomweb")
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        click.echo("Images and login are sent unencrypted. Use https.", err=True)
    client = client_of(url, _login(user, token_file))
    search = Search(modalities=modality, body_part=body_part, date=date, patient_id=patient_id)
    predictor = Predictor.load(model)
    with Queue(queue, predictor.model) as opened:
        sender = ResultSender(opened, WebPeer(client=client))
        try:
            counts = pull_all(client, search, opened, QueueScorer(opened, predictor), sender)
        except PeerError as error:
            raise click.ClickException(f"{url}: {error}.") from error
    click.echo(", ".join(f"{state}: {count}" for state, count in counts.items()))
    if counts[State.SCORED]:
        raise click.ClickException("The server refused some results. Run the command again later.")


@command.command(epilog=DISCLAIMER, context_settings={"show_default": True})
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Output folder."
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the key that determines UIDs, dates and pseudonyms; created if missing. Destroy it to make "
    "re-identification impossible. [default: a new key that is not kept]",
)
def deidentify(sources: tuple[str, ...], out: Path, key: Path | None) -> None:
    """Write de-identified copies of images by the basic profile of PS3.15, with shifted dates.

    SRC: files, folders and patterns. Pixels are not changed: check them before you share the copies. Objects without
    pixels and images that declare burnt-in annotations are left out; the exit status is then 1.
    """
    import secrets
    import sys

    from covidcxr.dicom.deidentify import KEY_BYTES, Deidentifier, deidentify_file, read_key
    from covidcxr.dicom.node import logs
    from covidcxr.errors import ImageError
    from covidcxr.images.paths import expand, unique

    logs.configure()
    try:
        deidentifier = Deidentifier(read_key(key) if key else secrets.token_bytes(KEY_BYTES))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    inputs = unique(expand(sources))
    for item in inputs:
        try:
            if item.error:
                raise ImageError(item.error)
            deidentify_file(Path(item.path), out, deidentifier)
        except ImageError as error:
            failed += 1
            click.echo(f"{click.format_filename(item.path)}: {error}", err=True)
    click.echo(f"{out}: {len(inputs) - failed} images, {failed} left out.")
    sys.exit(1 if failed else 0)


def _login(user: str | None, token_file: Path | None) -> "AuthBase | None":
    from requests.auth import HTTPBasicAuth

    from covidcxr.dicom.dicomweb import TokenFile

    if user and token_file:
        raise click.UsageError("Expected --user or --token-file. Received both.")
    if token_file:
        return TokenFile(token_file)
    if not user:
        return None
    if (password := os.environ.get(PASSWORD)) is None:
        raise click.UsageError(
            f"Expected the password of --user in the environment variable {PASSWORD}. It is not set."
        )
    return HTTPBasicAuth(user.encode(), password.encode())  # UTF-8 (RFC 7617); requests would use Latin-1
