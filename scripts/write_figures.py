"""Write every figure in README.md and docs anew: ``make docs``.

They come from the reports in src/covidcxr/assets/results, from docs/results and from the JSON files in benchmarks. A
block between ``<!-- figures: NAME -->`` and ``<!-- end -->`` is replaced by the table of that name. Nobody types one.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import batch_tables
import speed_tables
import work_tables
from tables import ROOT, load, percent, ratio, share, table

PAGES = (
    "README.md",
    "docs/index.md",
    "docs/performance.md",
    "docs/evaluation.md",
    "docs/experiments.md",
    "docs/audit.md",
    "docs/gate.md",
    "docs/scaling.md",
    "docs/dicom.md",
)
P3_SUMMARY = {"**mean of the six**": "mean_auroc", "**worst of the six**": "worst_auroc"}
TARGETS = (
    ("P3", "mean_auroc", "mean AUROC", 0.88, 1),
    ("P3", "worst_auroc", "AUROC of the worst pair", 0.80, 1),
    ("P4", "auroc", "AUROC", 0.85, 1),
    ("P5", "macro_f1", "macro F1", 0.85, 1),
    ("P5", "sensitivity_covid_at_specificity_90", "sensitivity of COVID-19 at a specificity of 90 %", 0.90, 1),
    ("P5", "calibration_error", "expected calibration error", 0.05, -1),
)
"""Protocol, key of its report, name, target, and 1 where more is better or -1 where less is."""
SLOWEST = 1.5
"""Times that the shipped network may take of plain EfficientNet-Lite0."""
P4_COLUMNS = {"auroc": "AUROC (95 % interval)", "sensitivity": "sensitivity", "specificity": "specificity"}
P5_COLUMNS = {"macro_f1": "P5 macro F1", "covid_auroc": "P5 COVID-19 AUROC"}
KEPT = {True: "yes", False: "", "baseline": "baseline"}
EXPERIMENTS = ("baseline", "classifier", "layer", "place", "preprocessing", "evidence", "cost", "fitted")
BLOCK = re.compile(r"(<!-- figures: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def packaged(name: str) -> dict[str, Any]:
    """Read the report of a protocol, which comes with the package."""
    return load(f"src/covidcxr/assets/results/{name}.json")


def honest() -> str:
    """Three figures that say most, each with what makes it."""
    p2, p3, p5 = packaged("P2"), packaged("P3"), packaged("P5")
    adults, control = p2["healthy_adults"], p5["controls"]["thumbnail"]["macro_f1"]
    mean, worst = (share(p3["metrics"][name]) for name in P3_SUMMARY.values())
    sizes = [sum(part["n"] for part in pair["test"].values()) for pair in p3["pairs"]]
    rows = [
        [
            "P2",
            "healthy people of another hospital, adults where their age is published, whom the published recipe calls "
            "COVID-19",
            percent(p2["metrics"]["healthy_adults_called_covid"]),
            f"{adults['n']} images of {adults['patients']} patients",
        ],
        [
            "P3",
            "AUROC of our recipe in hospitals that it has never seen",
            f"{mean}, in the worst pair {worst}",
            f"{len(sizes)} pairs of collections, {min(sizes)} to {max(sizes)} images each",
        ],
        [
            "P5",
            "macro F1 of the shipped model on other patients of the collections that it knows",
            f"{percent(p5['metrics']['macro_f1'])}, an 8x8 thumbnail {percent(control)}",
            f"{p5['data']['n']} images of {p5['data']['patients']} patients",
        ],
    ]
    verdict = load("docs/results/audit-default.json")["verdict"]
    return (
        table(["protocol", "what", "measured (95 % interval)", "on"], rows)
        + f"\nThe shortcut audit of the shipped model, `{p5['model']}`: **{verdict}**.\n"
    )


def classic_and_controls() -> str:
    """P1 and P2 side by side."""
    p1, p2 = packaged("P1"), packaged("P2")
    spread, adults, data = p2["thumbnail_splits"], p2["healthy_adults"], p1["data"]
    controls = [percent(p2["metrics"][f"{name}_accuracy"]) for name in ("thumbnail", "source_oracle")]
    rows = [
        [name, f"{100 * p1['published'][name]:.0f} %", percent(p1["metrics"][name]), *beside]
        for name, beside in [("accuracy", controls), *((name, ["", ""]) for name in ("precision", "recall", "f1"))]
    ]
    thumbnail = f"{100 * spread['mean']:.1f} % ({100 * spread['low']:.1f} to {100 * spread['high']:.1f})"
    called = percent(p2["metrics"]["healthy_adults_called_covid"])
    rows += [
        [f"accuracy, mean of {spread['n']} random splits (smallest to largest)", "", "", thumbnail, ""],
        ["healthy people of another hospital called COVID-19", "", called, "", ""],
    ]
    header = ["", "published", "P1: the classic network", "P2: 8x8 thumbnail, logistic regression"]
    return (
        table([*header, "P2: name of the collection"], rows)
        + f"\n{data['n']} test images of {data['patients']} patients, 95 % intervals; healthy people: {adults['n']} "
        f"images of {adults['patients']} patients; model `{p1['model']}`.\n"
    )


def three_classes() -> str:
    """P5 of the shipped model, with its controls."""
    p5 = packaged("P5")
    metrics, controls = p5["metrics"], p5["controls"]
    labels = p5["confusion"]["labels"]
    rows = [
        [f"shipped model, {label}", percent(metrics[f"sensitivity_{label}"]), percent(metrics[f"ppv_{label}"]), ""]
        for label in labels
    ]
    rows.append(["shipped model, all", "", "", percent(metrics["macro_f1"])])
    rows += [[f"control: {name.replace('_', ' ')}", "", "", percent(e["macro_f1"])] for name, e in controls.items()]
    on = f"{p5['data']['n']} images of {p5['data']['patients']} held-out patients of the training collections"
    return f"On {on}; model `{p5['model']}`.\n\n" + table(["", "sensitivity", "PPV", "macro F1"], rows)


def unseen() -> str:
    """P3 of the shipped recipe, pair by pair."""
    p3 = packaged("P3")
    rows = [
        [
            row["covid"],
            row["normal"],
            " against ".join(f"{part['n']} ({part['patients']})" for part in map(row["test"].get, ("covid", "normal"))),
            share(row["auroc"]),
            share(row["thumbnail_auroc"]),
        ]
        for row in p3["pairs"]
    ]
    rows += [[name, "", "", share(p3["metrics"][key]), ""] for name, key in P3_SUMMARY.items()]
    header = ["COVID-19 from", "normal from", "images (patients)", "AUROC (95 % interval)", "8x8 thumbnail"]
    return table(header, rows) + f"\n{p3['model'].capitalize()}.\n"


def external() -> str:
    """P4 of the shipped model, whole and by view."""
    p4 = packaged("P4")
    by_view = [(f"{row['view']} alone", row, row["covid"], row["normal"]) for row in p4["rows"]]
    counts = [sum(row[name] for row in p4["rows"]) for name in ("covid", "normal")]
    rows = [
        [name, f"{covid} against {normal}", *(share(found[key]) if key in found else "" for key in P4_COLUMNS)]
        for name, found, covid, normal in [("all", p4["metrics"], *counts), *by_view]
    ]
    header = ["view", "COVID-19 against normal", *P4_COLUMNS.values()]
    on = f"{p4['data']['patients']} patients; model `{p4['model']}`."
    return table(header, rows) + f"\n{on} {p4['says']}\n"


def targets() -> str:
    """What the shipped model was to reach, and what it reached."""
    reports = {name: packaged(name)["metrics"] for name in ("P3", "P4", "P5")}
    rows = []
    for protocol, key, text, target, sign in TARGETS:
        found = reports[protocol][key]
        short = sign * (target - found["value"])
        verdict = "reached" if short <= 0 else f"missed by {short:.3f}"
        wanted = f"at {'least' if sign > 0 else 'most'} {target:.2f}"
        rows.append([f"{protocol}, {text}", wanted, share(found), verdict])
    alone = load("benchmarks/results.json")["network_ms"]
    names = ("shipped network, ONNX Runtime", "EfficientNet-Lite0 at 224 px, ONNX Runtime")
    ours, plain = (alone[name]["median"] for name in names)
    verdict = "reached" if ours <= SLOWEST * plain else f"missed by {ours / plain - SLOWEST:.1f}x"
    rows.append(["one image against EfficientNet-Lite0", f"at most {SLOWEST}x", ratio(ours, plain), verdict])
    return table(["figure", "target", "measured (95 % interval)", ""], rows)


def by_source() -> str:
    """Accuracy of the shipped model by collection and view."""
    p5 = packaged("P5")
    rows = [[row["value"], str(row["n"]), percent(row["accuracy"])] for row in p5["by_source"] + p5["by_view"]]
    return table(["collection or view", "images", "accuracy (95 % interval)"], rows)


def experiments(group: str) -> str:
    """One group of the candidates that were tried, with P5 where one of them gives three classes."""
    candidates = _candidates(group)
    with_p5 = any("p5" in candidate for candidate in candidates)
    rows = [
        [
            candidate["name"],
            candidate["says"],
            *(share(candidate[key]) for key in P3_SUMMARY.values()),
            *(share(candidate["p5"][key]) if "p5" in candidate else "" for key in P5_COLUMNS if with_p5),
            KEPT[candidate["kept"]],
        ]
        for candidate in candidates
    ]
    header = ["candidate", "what it is", "P3 mean AUROC", "P3 worst AUROC"]
    return table([*header, *(P5_COLUMNS.values() if with_p5 else ()), "kept"], rows)


def experiments_by_pair() -> str:
    """The pairs of P3 for the baseline, and for the last of each group that was kept on the way to the recipe."""
    (baseline,) = [candidate for candidate in _candidates("baseline") if candidate["kept"] == "baseline"]
    (means,) = [candidate for candidate in _candidates("classifier") if candidate["kept"]]
    (lungs,) = [candidate for candidate in _candidates("place") if candidate["kept"]]
    recipe = [candidate for candidate in _candidates("evidence") if candidate["kept"]][-1]
    steps = {"baseline": baseline, "difference of means": means, "over the lungs": lungs, "recipe": recipe}
    steps["for comparison: " + _candidates("fitted")[-1]["name"]] = _candidates("fitted")[-1]
    rows = [
        [*name.split("--"), *(f"{candidate['pairs'][name]:.3f}" for candidate in steps.values())]
        for name in recipe["pairs"]
    ]
    return table(["COVID-19 from", "normal from", *steps], rows)


def _candidates(group: str) -> list[dict[str, Any]]:
    groups = {found["name"]: found["candidates"] for found in load("docs/results/experiments.json")["groups"]}
    candidates: list[dict[str, Any]] = groups[group]
    return candidates


def audit() -> str:
    """The shortcut tests of the classic recipe and of the default one, side by side."""
    names = [f"docs/results/audit-{name}.json" for name in ("classic", "default")]
    if not all((ROOT / name).exists() for name in names):
        return "Not measured yet.\n"
    reports = [load(name) for name in names]
    columns = [{test["test"]: _audited(report, test) for test in report["tests"]} for report in reports]
    rows = [[test["title"], *(column[test["test"]] for column in columns)] for test in reports[0]["tests"]]
    rows.append(["**verdict**", *(f"**{report['verdict']}**" for report in reports)])
    counts = " and ".join(f"{report['images']['sample']} for `{report['model']}`" for report in reports)
    header = ["test", "classic: figure (95 % interval)", "default: figure (95 % interval)"]
    return (
        table(header, rows)
        + f"\nTest images looked at: {counts}: the files before the verdict was written into them, which gives "
        "them another hash.\n"
    )


GATE_GROUPS = {
    "drawn": "drawn documents, plots, noise and layouts",
    "pictures": "photographs, screenshots and figures",
    "dicom": "DICOM test objects that are no radiographs",
    "CT": "CT slices",
    "lateral": "lateral views",
    "child": "small children",
    "adult": "frontal views of adults, held-out patients",
}
"""Keys of the gate's report, and what they are, in the order of the table."""
GATE_TARGETS = {"drawn": 0.99, "pictures": 0.99, "dicom": 0.90, "CT": 0.95, "lateral": 0.90, "child": 0.85}
UNSEEN_ADULTS = 0.05
"""Largest share of the adults of a collection that was not seen."""


def gate() -> str:
    """What the gate of the shipped model declines."""
    report = load("docs/results/gate.json")
    rows = []
    for name, what in GATE_GROUPS.items():
        if (found := report["declined"].get(name)) is None:
            continue
        on = (
            f"{found['n']} of {found['groups']} patients" if name in ("CT", "lateral", "child", "adult") else found["n"]
        )
        target = GATE_TARGETS.get(name)
        rows.append([what, str(on), percent(found), f"at least {100 * target:.0f} %" if target else ""])
    rows += [
        [
            f"adults of {origin}, by a gate that had not seen it",
            str(row["n"]),
            percent(row),
            f"at most {100 * UNSEEN_ADULTS:.0f} %",
        ]
        for origin, row in report["unseen_origins"].items()
    ]
    refused = report["declined"]["dicom"]["not_decoded"]
    return (
        table(["what", "pictures", "declined (95 % interval)", "target"], rows)
        + f"\nModel `{report['model']}`. Of the DICOM test objects {refused} more hold no picture that can be decoded: "
        "they are refused with an error.\n"
    )


def _audited(report: dict[str, Any], test: dict[str, Any]) -> str:
    found = [finding for finding in report["audit"]["findings"] if finding["test"] == test["test"]]
    return f"{test['verdict']}: {share(found[0])}" if found else test["verdict"]


TABLES: dict[str, Callable[[], str]] = {
    "honest": honest,
    "classic-and-controls": classic_and_controls,
    "three-classes": three_classes,
    "unseen": unseen,
    "external": external,
    "targets": targets,
    "by-source": by_source,
    **{f"experiments-{group}": partial(experiments, group) for group in EXPERIMENTS},
    "experiments-by-pair": experiments_by_pair,
    "speed": speed_tables.speed,
    "imports": speed_tables.imports,
    "networks": speed_tables.networks,
    "training": speed_tables.training,
    "under-load": speed_tables.under_load,
    "cold-command": work_tables.cold_command,
    "decoding": work_tables.decoding,
    "one-core": work_tables.one_core,
    "folder": work_tables.folder,
    "runtimes": work_tables.runtimes,
    "dicom": speed_tables.dicom,
    "batch": batch_tables.batch,
    "batch-plan": batch_tables.batch_plan,
    "drift": batch_tables.drift,
    "audit": audit,
    "gate": gate,
}


def filled(text: str) -> str:
    """Return a page with every block of figures written anew."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found["name"]]() + found[3], text)


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        page = ROOT / name
        page.write_text(filled(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
