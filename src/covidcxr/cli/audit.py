"""``covidcxr audit``."""

from pathlib import Path

import click

from covidcxr.cli.options import manifest_option
from covidcxr.errors import require_extra


@click.command("audit")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--describe",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Input and output of a model that was not exported by covidcxr.",
)
@manifest_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report.")
@click.option(
    "--write-into",
    type=click.Path(path_type=Path),
    metavar="COPY.onnx",
    help="Write a copy of the model that reports the verdict with every prediction; may be MODEL itself.",
)
@click.option("--force", is_flag=True, help="Report accuracy and AUROC even if the collection gives the class away.")
def command(
    model: Path, describe: Path | None, manifest: Path, out: Path, write_into: Path | None, force: bool
) -> None:
    """Test whether a MODEL takes shortcuts; write audit.json and audit.html.

    MODEL is a file exported by 'covidcxr export', a run folder of 'covidcxr train', or any .onnx, .keras or .h5 file.
    Every test gives a figure, an interval, a verdict and a picture.
    """
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic", "onnx")
    from covidcxr.audit.model import load_subject, write_audit
    from covidcxr.audit.report import audit_model, write_report
    from covidcxr.data.manifest import read_manifest

    subject = load_subject(model, describe)
    if write_into and subject.artifact is None:
        raise click.UsageError(
            "Expected a model exported by 'covidcxr export' for --write-into: other files cannot hold a verdict."
        )
    report = audit_model(subject, read_manifest(manifest), force=force)
    write_report(report, out)
    for result in report.results:
        verdict = result.finding.verdict if result.finding else "-"
        click.echo(f"  {verdict:<5} {result.title}: {result.finding.says if result.finding else result.reason}")
    if report.about["refused"]:
        click.echo(report.about["refused"])
    click.echo(f"Verdict: {report.audit.verdict}. Report: {out / 'audit.html'}")
    if write_into:
        write_audit(model, report.audit, write_into)
        click.echo(f"Model with the verdict: {write_into}")
