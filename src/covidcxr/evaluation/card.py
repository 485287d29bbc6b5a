"""The model card: one page of Markdown about a model file, from the file itself and the reports about it.

Sections as in Mitchell et al. 2019, Model Cards for Model Reporting (https://doi.org/10.1145/3287560.3287596).
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidcxr import DISCLAIMER
from covidcxr._templates import environment
from covidcxr.data.sources import SOURCES, Source
from covidcxr.errors import ArtifactError
from covidcxr.evaluation.cross_source import trained_for_pairs
from covidcxr.evaluation.metrics import LEVEL, RESAMPLES, Estimate, ppv_at
from covidcxr.evaluation.report import TITLES
from covidcxr.labels import Label, Protocol
from covidcxr.prediction.artifact import Artifact
from covidcxr.recipes.recipe import Recipe, Selection, parse_recipe

PREVALENCE = 0.05
"""Share of people with COVID-19 for which PPV is given: the test collections hold many times as many."""
FEW = 10
"""Images below which a collection or view is not named as the worst."""

Report = dict[str, Any]


def read_reports(folder: Path) -> dict[Protocol, Report]:
    """Read the reports in a folder, such as classic.json; a protocol without a file is left out.

    Raises:
        ArtifactError: A file is not the report of the protocol that its name says.
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


def render_card(artifact: Artifact, model: str, reports: Mapping[Protocol, Report]) -> str:
    """Return the card as Markdown.

    Args:
        artifact: The contract of the model file.
        model: Name and hash of the model file, as reports carry it.
        reports: Reports by protocol; those that are missing are named as not measured.

    Raises:
        ArtifactError: A report is of another model, or unseen-hospitals of another recipe.
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
    templates = environment("covidcxr.evaluation", html=False)
    templates.filters |= {"percent": _percent, "area": _area}
    return templates.get_template("model_card.md").render(
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


def _percent(e: Mapping[str, float]) -> str:
    """Format a share with its interval; one of nothing (nan) is not defined."""
    if math.isnan(e["value"]):
        return "not defined"
    return f"{100 * e['value']:.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})"


def _area(e: Mapping[str, float]) -> str:
    """Format an area under the ROC curve with its interval."""
    return f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"


def _classes(artifact: Artifact, reports: Mapping[Protocol, Report]) -> list[Report]:
    """Return the figures of held-out by class, with the number of test images of the class."""
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


def _rules(artifact: Artifact, reports: Mapping[Protocol, Report]) -> list[Report]:
    """Return every way to call an image COVID-19, with what is known of it and its PPV at PREVALENCE."""
    rules = [
        _rule(
            f"{point.name}: P(COVID-19) at least {point.threshold:.3f}",
            "validation images, on which the threshold was chosen",
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
            found, cleared = (Estimate(**report["metrics"][key + ending]) for key in ("sensitivity", "specificity"))
            rules.append(_rule(name, TITLES[protocol], report["data"], found, cleared))
    return rules


def _rule(name: str, on: str, numbers: Mapping[str, int], found: Estimate, cleared: Estimate) -> Report:
    ppv = ppv_at(PREVALENCE, found, cleared)
    figures = {"sensitivity": found, "specificity": cleared, "ppv": ppv}
    return {"name": name, "on": on, "n": numbers["n"], "patients": numbers["patients"]} | {
        key: value.to_dict() for key, value in figures.items()
    }


def _trained(recipe: Recipe) -> dict[Label, list[Source]]:
    """Return for every class the collections that the recipe may take images from."""
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


def _unseen(pairs: Sequence[Report]) -> dict[str, int]:
    """Count the images and patients of unseen-hospitals; an origin stands in several pairs and counts once."""
    parts = {(label, row[label]): row["test"][label] for row in pairs for label in ("covid", "normal")}
    return {key: sum(part[key] for part in parts.values()) for key in ("n", "patients")}
