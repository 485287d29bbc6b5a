"""All tests in their order, and the report: audit.json and audit.html."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from covidcxr import __version__
from covidcxr._templates import render_page
from covidcxr.audit import changes, data, hidden, maps, regions
from covidcxr.audit.context import Context, Result, Test, make_context, measured
from covidcxr.audit.model import Subject
from covidcxr.data.manifest import Record, data_hash
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
class Report:
    """An audit with all that it rests on.

    Attributes:
        audit: Verdict and findings.
        results: Of every test, also of those that did not apply.
        about: Model, versions, numbers of images, headline or why there is none; JSON-ready.
    """

    audit: Audit
    results: tuple[Result, ...]
    about: dict[str, Any]


def audit_model(subject: Subject, records: Sequence[Record], *, force: bool = False) -> Report:
    """Run every test.

    Args:
        subject: The model.
        records: A manifest; its external records take no part.
        force: Report accuracy and AUROC even if the collection gives the class away.

    Raises:
        ManifestError: The manifest holds no test images for this model.
    """
    context = make_context(subject, records)
    with tqdm(TESTS, desc="audit", unit="test", disable=None) as bar:
        results = tuple(test(context) for test in bar)
    findings = tuple(result.finding for result in results if result.finding)
    used = data_hash([record for record in records if record.split != "external"])
    audit = Audit(date=datetime.datetime.now(datetime.UTC).date().isoformat(), data_hash=used, findings=findings)
    about = {
        "model": subject.name,
        "covidcxr": __version__,
        "labels": list(map(str, subject.labels)),
        "images": {"train": len(context.train), "test": len(context.test), "sample": len(context.sample.records)},
        "patients": len(set(context.sample.groups)),
        **_headline(context, results, force),
    }
    return Report(audit, results, about)


def _headline(context: Context, results: Sequence[Result], force: bool) -> dict[str, Any]:
    """Return accuracy and AUROC, or why they would mislead."""
    oracle = next(result.finding for result in results if result.test == "source_oracle")
    refused = oracle is not None and oracle.verdict is Verdict.FAIL
    reason = (
        f"The collection alone names {oracle.value:.0%} of the classes right: any accuracy on these images is the "
        f"accuracy of telling collections apart."
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


def write_report(report: Report, out: Path) -> None:
    """Write audit.json and audit.html into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "audit.json").write_text(json.dumps(as_json(report), indent=2) + "\n", "utf-8")
    (out / "audit.html").write_text(render(report), "utf-8")


def as_json(report: Report) -> dict[str, Any]:
    """Return what audit.json holds: the audit as a model file carries it, what it rests on, and every test."""
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


def render(report: Report) -> str:
    """Render the report as one HTML page that needs no other file."""
    pictures = {result.test: result.picture for result in report.results if result.picture}
    return render_page("covidcxr.audit", "audit.html", pictures, report=report)
