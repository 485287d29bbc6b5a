"""The model card: a page of Markdown about a model file, written from the file and its reports.

Its sections follow Mitchell et al. 2019, Model Cards for Model Reporting (https://doi.org/10.1145/3287560.3287596).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidcxr import DISCLAIMER
from covidcxr._templates import environment
from covidcxr.data.sources import SOURCES, Source
from covidcxr.errors import ArtifactError
from covidcxr.evaluation.cross_source import trained_for_pairs
from covidcxr.evaluation.metrics import LEVEL, RESAMPLES, Estimate, ppv_at
from covidcxr.evaluation.report import TITLES, EvaluationReport
from covidcxr.labels import Label, Protocol
from covidcxr.prediction.artifact import Artifact
from covidcxr.recipes.recipe import Recipe, Selection, parse_recipe

PREVALENCE = 0.05
"""Share of people with COVID-19 for which PPV is given; it is many times as high in the test collections."""
FEW = 10
"""Fewest images of a collection or view that is named as the worst."""


def read_reports(folder: Path) -> dict[Protocol, EvaluationReport]:
    """Read the reports in a folder, such as classic.json; a protocol without a file is left out.

    Raises:
        ArtifactError: A file is not a report of the protocol in its name.
    """
    reports = {}
    for protocol in Protocol:
        path = folder / f"{protocol}.json"
        if not path.exists():
            continue
        try:
            reports[protocol] = json.loads(path.read_text("utf-8"))
            found = reports[protocol]["protocol"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"Expected a report of 'covidcxr evaluate' in {path}. Received: {error!r}") from error
        if found != protocol:
            raise ArtifactError(f"Expected a report of {protocol} in {path}. Received one of {found}.")
    return reports


def render_card(artifact: Artifact, model: str, reports: Mapping[Protocol, EvaluationReport]) -> str:
    """Return the card as Markdown.

    Args:
        artifact: The contract of the model file.
        model: Name and hash of the model file, as reports carry it.
        reports: Reports by protocol; a missing one appears as not measured.

    Raises:
        ArtifactError: A report is about another model, or the one of unseen-hospitals about another recipe.
        RecipeError: The recipe in the model file is not valid.
    """
    recipe = parse_recipe(artifact.recipe, model)
    expected = {
        Protocol.UNSEEN_HOSPITALS: trained_for_pairs(recipe.name),
        Protocol.EXTERNAL: model,
        Protocol.HELD_OUT: model,
    }
    for protocol, report in reports.items():
        if report["model"] != expected.get(protocol, report["model"]):
            raise ArtifactError(
                f"Expected a report of {protocol} of {expected[protocol]}. Received one of {report['model']}."
            )
    return (
        environment("covidcxr.evaluation", html=False)
        .get_template("model_card.md")
        .render(
            artifact=artifact,
            children=[name for name, source in SOURCES.items() if source.children],
            classes=_classes(artifact, reports),
            disclaimer=DISCLAIMER,
            few=FEW,
            level=LEVEL,
            model=model,
            prevalence=PREVALENCE,
            titles=TITLES,
            recipe=recipe,
            reports=reports,
            resamples=RESAMPLES,
            rules=_rules(artifact, reports),
            tested=[source for source in SOURCES.values() if source.external],
            trained=_trained(recipe),
            unseen=_unseen(reports.get(Protocol.UNSEEN_HOSPITALS, {}).get("pairs", [])),
        )
    )


def _classes(artifact: Artifact, reports: Mapping[Protocol, EvaluationReport]) -> list[dict[str, Any]]:
    """Return the figures of held-out by class, with numbers of images and patients."""
    if Protocol.HELD_OUT not in reports:
        return []
    report = reports[Protocol.HELD_OUT]
    totals = map(sum, report["confusion"]["rows_true_columns_predicted"])
    numbers = report["data"].get("by_label", {})
    return [
        {"label": label, "n": total, **numbers.get(label, {})}
        | {name: report["metrics"][f"{name}_{label}"] for name in ("sensitivity", "specificity", "ppv", "auroc")}
        for label, total in zip(artifact.labels, totals, strict=True)
    ]


def _rules(artifact: Artifact, reports: Mapping[Protocol, EvaluationReport]) -> list[dict[str, Any]]:
    """Return every rule for calling an image COVID-19, with its figures and its PPV at PREVALENCE."""
    rules = [
        _rule(
            f"{point.name}: P(COVID-19) at least {point.threshold:.3f}",
            "validation images, which chose the threshold",
            {"n": point.images, "patients": point.groups},
            Estimate(point.sensitivity, *point.sensitivity_interval),
            Estimate(point.specificity, *point.specificity_interval),
        )
        for point in artifact.operating_points
    ]
    most_probable = (
        (Protocol.HELD_OUT, "COVID-19 is the most probable class", "_covid"),
        (Protocol.EXTERNAL, "COVID-19 is more probable than normal", ""),
    )
    for protocol, name, ending in most_probable:
        if (report := reports.get(protocol)) is not None:
            ends = (Estimate.of(report["metrics"][key + ending]) for key in ("sensitivity", "specificity"))
            rules.append(_rule(name, TITLES[protocol], report["data"], *ends))
    return rules


def _rule(
    name: str, on: str, numbers: Mapping[str, int], sensitivity: Estimate, specificity: Estimate
) -> dict[str, Any]:
    ppv = ppv_at(PREVALENCE, sensitivity, specificity)
    figures = {"sensitivity": sensitivity, "specificity": specificity, "ppv": ppv}
    return {"name": name, "on": on, "n": numbers["n"], "patients": numbers["patients"]} | figures


def _trained(recipe: Recipe) -> dict[Label, list[Source]]:
    """Return the collections that the recipe may take images from, by class."""
    internal = [source for source in SOURCES.values() if not source.external]

    def takes(selection: Selection, source: Source) -> bool:
        named = not selection.sources or source.name in selection.sources
        return named and selection.label in source.findings.values()

    return {
        label: [
            source
            for source in internal
            if any(takes(selection, source) for selection in recipe.data.select if selection.label == label)
        ]
        for label in recipe.labels
    }


def _unseen(pairs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the images and patients of unseen-hospitals; an origin in several pairs counts once."""
    parts = {(label, row[label]): row["test"][label] for row in pairs for label in ("covid", "normal")}
    return {key: sum(part[key] for part in parts.values()) for key in ("n", "patients")}
