"""``covidcxr data``: download the public collections, build the manifest, report on it."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from covidcxr.errors import require_extra

if TYPE_CHECKING:
    from covidcxr.data.build import Build

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Download public collections of chest X-rays, build the manifest, and report on it."""


@command.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--root", type=FOLDER, required=True, help="Folder for the collections.")
@click.option(
    "--github", default="https://github.com", show_default=True, help="GitHub, or a mirror with the same paths."
)
def download(sources: tuple[str, ...], root: Path, github: str) -> None:
    """Download collections from their publishers; 'all' means every collection.

    Existing folders are left as they are. Kaggle data sets need the credentials of your own Kaggle account in
    ~/.kaggle/kaggle.json.
    """
    require_extra("train", "pooch", "kagglehub")
    from covidcxr.data.download import download as download_source
    from covidcxr.data.sources import SOURCES

    names = list(SOURCES) if "all" in sources else list(sources)
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        raise click.BadParameter(f"Expected some of {', '.join(SOURCES)}. Received {', '.join(unknown)}.")
    for name in names:
        source = SOURCES[name]
        fetched = download_source(source, root, github=github)
        click.echo(f"{name}: {'downloaded to' if fetched else 'already in'} {root / source.folder}")
        click.echo(f"  licence: {source.licence}\n  please cite: {source.citation}")


@command.command()
@click.option("--root", type=FOLDER, required=True, help="Folder of the collections, as published.")
@click.option("--out", type=FILE, required=True, help="Manifest to write, such as manifest.csv.")
@click.option("--views", type=click.Choice(["frontal", "pa"]), default="frontal", help="frontal: PA, AP, AP supine.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the split into training and test data.")
def build(root: Path, out: Path, views: str, seed: int) -> None:
    """Read all collections in a folder into one manifest.

    Next to the manifest, STEM.rejects.csv lists the images that were left out, with reasons, and STEM.duplicates.csv
    the pairs of images that show the same radiograph.
    """
    require_extra("train", "imagehash", "scipy", "sklearn")
    from covidcxr.data.build import build as build_manifest
    from covidcxr.data.collect import write_rejects
    from covidcxr.data.duplicates import write_duplicates
    from covidcxr.data.manifest import FRONTAL_VIEWS, View, write_manifest

    made = build_manifest(root, views={View.PA} if views == "pa" else FRONTAL_VIEWS, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_rejects(made.rejects, out.with_suffix(".rejects.csv"))
    write_duplicates(made.duplicates, out.with_suffix(".duplicates.csv"))
    write_manifest(made.records, out)
    _print_summary(made, out)


def _print_summary(made: "Build", out: Path) -> None:
    click.echo(f"{out}: {len(made.records)} images, {len({record.group for record in made.records})} groups")
    counts = Counter((record.source, record.label, record.split) for record in made.records)
    for (source, label, split), count in sorted(counts.items()):
        click.echo(f"  {source:16} {label:10} {split:9} {count:6}")
    click.echo(f"left out: {len(made.rejects)}")
    reasons = Counter((reject.source, reject.reason) for reject in made.rejects)
    for (source, reason), count in sorted(reasons.items()):
        click.echo(f"  {source:16} {reason:20} {count:6}")
    across = sum(pair.id_a.split("/")[0] != pair.id_b.split("/")[0] for pair in made.duplicates)
    click.echo(f"near-duplicates: {len(made.duplicates)} pairs, {across} of them across collections")
    for record in made.drawn_in:
        click.echo(f"external because it shares a patient or image with an external collection: {record.id}")


@command.command()
@click.argument("manifest", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Folder for data.html, data.json and the contact sheets.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the images on the contact sheets.")
def report(manifest: Path, out: Path, seed: int) -> None:
    """Report on MANIFEST: counts, rejects, duplicates, and a contact sheet per collection."""
    require_extra("train", "pandas", "jinja2")
    from covidcxr.data.report import write_report

    summary = write_report(manifest, out, seed=seed)
    click.echo(f"{out / 'data.html'}: {summary['pictures']} images of {len(summary['sources'])} collections")
