"""``covidcxr audit``."""

from pathlib import Path

import click

from covidcxr.errors import require_extra


@click.command("audit")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    required=True,
    metavar="M.onnx|RUN|FILE",
    help="Exported by 'covidcxr export', a folder of 'covidcxr train', or anybody's .onnx, .keras or .h5.",
)
@click.option("--describe", type=click.Path(path_type=Path), metavar="FILE.toml", help="What anybody's file expects.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Made by 'covidcxr data build'.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the report.")
@click.option(
    "--write-into",
    type=click.Path(path_type=Path),
    metavar="COPY.onnx",
    help="Write a copy of the model that carries the verdict with each prediction; may be the model itself.",
)
@click.option("--i-know", is_flag=True, help="Give accuracy and AUROC also where the collection determines the class.")
def command(
    model: Path, describe: Path | None, manifest: Path, out: Path, write_into: Path | None, i_know: bool
) -> None:
    """Look for shortcuts: every test with a figure, an interval, a verdict and a picture; audit.json, audit.html."""
    require_extra("train", "sklearn", "scipy", "matplotlib", "jinja2", "pydantic", "onnx")
    from covidcxr.audit.model import load_subject, write_audit
    from covidcxr.audit.report import audit_model, write_report
    from covidcxr.data.manifest import read_manifest

    subject = load_subject(model, describe)
    if write_into and subject.artifact is None:
        raise click.UsageError("Expected a model of 'covidcxr export' for --write-into: another carries no verdict.")
    report = audit_model(subject, read_manifest(manifest), insist=i_know)
    write_report(report, out)
    for result in report.results:
        verdict = result.finding.verdict if result.finding else "-"
        click.echo(f"  {verdict:<5} {result.title}: {result.finding.says if result.finding else result.reason}")
    if report.about["refused"]:
        click.echo(report.about["refused"])
    click.echo(f"Verdict: {report.audit.verdict}. Report: {out / 'audit.html'}")
    if write_into:
        write_audit(model, report.audit, write_into)
        click.echo(f"Model with its verdict: {write_into}")
