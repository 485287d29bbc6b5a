"""The whole audit: all tests in order, and the report as audit.json and audit.html."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from covidcxr import __version__
from covidcxr._files import write_json
from covidcxr._templates import render_page
from covidcxr.audit import changes, data, hidden, maps, regions
from covidcxr.audit.context import AuditResult, Context, Test, make_context, measured
from covidcxr.audit.model import Subject
from covidcxr.data.manifest import Record, Split, data_hash
from covidcxr.evaluation import metrics
from covidcxr.prediction.verdict import Audit, Verdict

TESTS: tuple[Test, ...] = (
    data.source_oracle,
    data.thumbnail,
    data.leakage,
    regions.lungs_erased,
    regions.lungs_only,
    regions.border_only,
    regions.map_in_lungs,
    hidden.source_in_embedding,
    hidden.age_in_score,
    hidden.view_in_score,
    changes.markers,
    changes.flip,
    changes.exposure,
    maps.deletion_insertion,
    maps.map_sanity,
)


@dataclass(frozen=True)
class AuditReport:
    """An audit with the results of its tests.

    Attributes:
        audit: Verdict and findings.
        results: Results of all tests, including those that did not apply.
        about: Model, versions, numbers of images, accuracy and AUROC or the reason why not; JSON-ready.
    """

    audit: Audit
    results: tuple[AuditResult, ...]
    about: dict[str, Any]


def audit_model(subject: Subject, records: Sequence[Record], *, force: bool = False) -> AuditReport:
    """Run every test.

    Args:
        subject: The model.
        records: A manifest; external records are not used.
        force: Report accuracy and AUROC even if the collection gives the class away.

    Raises:
        ManifestError: The manifest has no training or test images for this model.
    """
    context = make_context(subject, records)
    with tqdm(TESTS, desc="audit", unit="test", disable=None) as bar:
        results = tuple(test(context) for test in bar)
    findings = tuple(result.finding for result in results if result.finding)
    used = data_hash([record for record in records if record.split is not Split.EXTERNAL])
    audit = Audit(date=datetime.datetime.now(datetime.UTC).date().isoformat(), data_hash=used, findings=findings)
    about = {
        "model": subject.name,
        "covidcxr": __version__,
        "labels": list(map(str, subject.labels)),
        "images": {"train": len(context.train), "test": len(context.test), "sample": len(context.sample.records)},
        "patients": len(set(context.sample.groups)),
        **_headline(context, results, force),
    }
    return AuditReport(audit, results, about)


def _headline(context: Context, results: Sequence[AuditResult], force: bool) -> dict[str, Any]:
    """Return accuracy and AUROC, or the reason why they would mislead."""
    oracle = next(result.finding for result in results if result.test == "source_oracle")
    refused = oracle is not None and oracle.verdict is Verdict.FAIL
    reason = (
        f"Knowing only the collection gives the right class {100 * oracle.value:.0f} % of the time, so any accuracy on "
        f"these images may come from recognising collections."
        if oracle and refused
        else ""
    )
    if refused and not force:
        return {"headline": None, "refused": reason}
    sample, scores = context.sample, context.outputs.scores
    wanted = {"accuracy": metrics.accuracy, "auroc": metrics.auroc(context.subject.covid)}
    return {
        "headline": {
            name: measured(metric, sample.y_true, scores, sample.groups).to_dict() for name, metric in wanted.items()
        },
        "refused": reason,
    }


def write_report(report: AuditReport, out: Path) -> None:
    """Write audit.json and audit.html into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "audit.json", as_json(report))
    (out / "audit.html").write_text(render(report), "utf-8")


def as_json(report: AuditReport) -> dict[str, Any]:
    """Return the content of audit.json: the audit as in a model file, about, and every test."""
    tests = [
        {
            "test": result.test,
            "title": result.title,
            "verdict": result.finding.verdict if result.finding else "not applicable",
            "figure": result.figure,
            "rule": result.rule,
            "reason": result.reason,
            "n": result.n,
            "details": result.details,
        }
        for result in report.results
    ]
    return {"verdict": report.audit.verdict, "audit": asdict(report.audit), **report.about, "tests": tests}


def render(report: AuditReport) -> str:
    """Render the report as one HTML page that needs no other file."""
    pictures = {result.test: result.picture for result in report.results if result.picture}
    return render_page("covidcxr.audit", "audit.html", pictures, report=report)
