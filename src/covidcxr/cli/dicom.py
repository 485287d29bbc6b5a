"""``covidcxr dicom``: a node for a hospital's network, DICOMweb, and de-identification."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from covidcxr import DISCLAIMER
from covidcxr.cli.options import is_loopback, model_option

if TYPE_CHECKING:
    from requests.auth import AuthBase

    from covidcxr.prediction.predictor import Predictor

PASSWORD = "COVIDCXR_DICOMWEB_PASSWORD"
"""Where the password of --user stands: other users of the machine see options, not the environment."""

queue_option = click.option(
    "--queue",
    default="covidcxr-queue",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for images and results on their way; they hold what the images say about patients.",
)


@click.group(name="dicom", epilog=DISCLAIMER)
def command() -> None:
    """Receive, score and send back DICOM images."""
    from covidcxr.errors import require_extra

    require_extra("dicom", "pynetdicom", "highdicom", "peewee", "contourpy", "dicomweb_client", "dicomanonymizer")


@command.command(epilog=DISCLAIMER)
@click.option("--ae-title", default="COVIDCXR", show_default=True, help="Our application entity title.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=11112, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option("--forward", metavar="AET@HOST:PORT", help="Peer to send results to. [default: keep them in the queue]")
@click.option("--forward-tls", is_flag=True, help="Encrypt what is sent, too; needs --tls-cert.")
@click.option("--allow", multiple=True, metavar="AET", help="Application entity that may call; several. [default: all]")
@queue_option
@model_option
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="Our certificate, PEM: turns TLS on.")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its private key, PEM.")
@click.option(
    "--tls-ca", type=click.Path(dir_okay=False, path_type=Path), help="Authority that callers' certificates must be of."
)
@click.option(
    "--associations", default=16, show_default=True, type=click.IntRange(1, 500), help="Most associations at a time."
)
@click.option("--max-megabytes", default=200, show_default=True, type=click.IntRange(1), help="Largest image.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Most images a second. [default: no limit]")
@click.option(
    "--backlog", default=10_000, show_default=True, type=click.IntRange(1), help="Most images waiting to be scored."
)
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
    """Answer C-ECHO and C-STORE until Ctrl-C or SIGTERM; score chest radiographs and send the results by C-STORE."""
    from covidcxr.dicom.node import logs
    from covidcxr.dicom.node.peer import StorePeer
    from covidcxr.dicom.node.server import Limits
    from covidcxr.dicom.node.service import Settings, serve
    from covidcxr.dicom.node.tls import Certificates

    if (tls_cert is None) != (tls_key is None) or (tls_cert is None and (tls_ca or forward_tls)):
        raise click.UsageError("Expected --tls-cert and --tls-key for TLS. Received one without the other.")
    tls = Certificates(certificate=tls_cert, key=tls_key, authority=tls_ca) if tls_cert and tls_key else None
    try:
        peer = (
            StorePeer.parse(forward, calling=ae_title, tls=tls.client() if tls and forward_tls else None)
            if forward
            else None
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--forward") from error
    logs.start()
    settings = Settings(
        ae_title=ae_title,
        host=host,
        port=port,
        allow=allow,
        limits=Limits(
            associations=associations,
            message_bytes=1_000_000 * max_megabytes,
            images_per_second=rate,
            backlog=backlog,
        ),
        tls=tls.server() if tls else None,
    )

    def ready(listening: int, model_name: str) -> None:
        click.echo(f"{ae_title} listens on {host}, port {listening}. Model: {model_name}. Ctrl-C stops it.")
        if not is_loopback(host) and not (tls_ca and allow):
            click.echo("Other machines can reach it. --tls-cert, --tls-key, --tls-ca and --allow keep strangers out.")
        click.echo(DISCLAIMER)

    serve(settings, queue, _predictor(model), peer, ready)


@command.command(epilog=DISCLAIMER)
@click.option("--dicomweb", "url", required=True, metavar="URL", help="DICOMweb server.")
@click.option("--user", metavar="NAME", help=f"Login; its password stands in {PASSWORD}. [default: as in ~/.netrc]")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a bearer token, read anew for every request.",
)
@click.option(
    "--modality", multiple=True, default=("CR", "DX"), show_default=True, help="Modality of the images; several."
)
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
    """Find images on a DICOMweb server, score those that were not yet, and store the results there.

    Stopped, the same command goes on; run again, it scores what has come since.
    """
    from covidcxr.dicom.dicomweb import Search, WebPeer, client_of
    from covidcxr.dicom.dicomweb import pull as pull_all
    from covidcxr.dicom.node import logs
    from covidcxr.dicom.node.queue import Queue, State
    from covidcxr.dicom.node.work import PeerError, Scorer, Sender

    logs.start()
    address = urlsplit(url)
    if address.username or address.password:
        raise click.BadParameter(
            "Expected an address without a login. Received one: see --user.", param_hint="--dicomweb"
        )
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        click.echo("Images and login go over the network unencrypted: https keeps them secret.", err=True)
    client = client_of(url, _login(user, token_file))
    search = Search(modalities=modality, body_part=body_part, date=date, patient_id=patient_id)
    predictor = _predictor(model)
    with Queue(queue, predictor.model) as opened:
        sender = Sender(opened, WebPeer(client=client))
        try:
            counts = pull_all(client, search, opened, Scorer(opened, predictor), sender)
        except PeerError as error:
            raise click.ClickException(f"Expected a DICOMweb server at {url}. Received: {error}.") from error
    click.echo(", ".join(f"{state}: {count}" for state, count in counts.items()))
    if counts[State.SCORED]:
        raise click.ClickException("Expected the server to store all results. Received refusals: run it again later.")


@command.command(epilog=DISCLAIMER)
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Folder.")
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the secret that UIDs, dates and pseudonyms follow from, made if missing: the same in several runs. "
    "Destroy it to cut the way back. [default: a secret that nobody keeps]",
)
def deidentify(sources: tuple[str, ...], out: Path, key: Path | None) -> None:
    """Write copies of images without what tells who the patient is: PS3.15 basic profile, dates shifted.

    Pixels stay as they are: look at them before you pass them on. Files named in SRC (files, folders, patterns) are not
    changed; what is no image, or says that its pixels name the patient, is left out, and the exit status is then 1.
    """
    import secrets
    import sys

    from covidcxr.dicom.deidentify import KEY_BYTES, Deidentifier, deidentify_file, read_key
    from covidcxr.dicom.node import logs
    from covidcxr.errors import ImageError
    from covidcxr.images.paths import expand, unique

    logs.start()
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
        raise click.UsageError(f"Expected the password of --user in {PASSWORD}. Received none.")
    return HTTPBasicAuth(user.encode(), password.encode())  # UTF-8 (RFC 7617), which requests would not take


def _predictor(model: Path | None) -> "Predictor":
    from covidcxr.prediction.predictor import Predictor

    return Predictor.load(model)
