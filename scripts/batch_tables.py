"""Tables of docs/scaling.md: what an image costs in a batch, and ten million of them on a hundred machines."""

from typing import Any

from tables import load, spread, table

IMAGES, NODES, CORES = 10_000_000, 100, 16
"""The plan: images, machines, cores of each."""
SHARD = 512
"""Images of the parts that nearly all are in (covidcxr.batch.plan.LARGEST)."""
LIST_S, LISTED = 0.1, 1000
"""What a store takes to list so many objects: one request after the other."""
LINE_GB_S = 1.25
"""Network of a machine: 10 Gbit/s."""
PREFIX_READS = 5500
"""Reads a second that S3 allows for a prefix (its user guide, "Best practices design patterns")."""
SERVER_GB_S = 1.0
"""A single file server."""


def batch() -> str:
    """What an image costs, and whether that or the memory grows with the images."""
    report = load("docs/results/batch.json")
    rows = [
        [
            f"{run['images']:,} of {run['side']} x {run['side']}",
            f"{run['cpu_ms_per_image']:.1f} ms",
            spread(run["cpu_ms_by_tenth"], "ms"),
            f"{run['images_per_s']:.0f}",
            " + ".join(f"{run['ms_per_image'][name]:.1f}" for name in ("read_ms", "decode_ms", "predict_ms")),
            spread(run["memory_mb_by_tenth"], "MB"),
            f"{run['memory_grown_mb']:+.0f} MB",
        ]
        for run in report["runs"]
    ]
    header = ["images", "CPU time of one", "in tenths of the run", "a second", "read + decode + predict, ms"]
    header += ["memory in tenths", "from the second to the last"]
    kinds = ", ".join(f"{kind} {spread(e, 'images a second')}" for kind, e in report["images_per_s"].items())
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    about = (
        f"Lists that name {report['distinct']} synthetic radiographs of each size again and again, a third each PNG, "
        f"JPEG and DICOM, so they are read from memory; {report['workers']} workers; {report['machine']}; {versions}; "
        f"model `{report['model']}`. CPU time and memory are those of all processes, without the "
        f"{spread(report['start_cpu_s'], 's')} of CPU time until a run scores; the tenths, median (smallest to "
        f"largest), without the first, in which the processes start; a shard is counted when it is done, so short runs "
        f"show larger steps. The load was {report['load_before']:.1f} before. Processes against threads, in turn: "
        f"{kinds}."
    )
    return table(header, rows) + f"\n{_growth(report['runs'])} {about}\n"


def _growth(runs: list[dict[str, Any]]) -> str:
    """Compare the shortest with the longest run of the size that has most images."""
    side = max(runs, key=lambda run: run["images"])["side"]
    short, *_, long = sorted((run for run in runs if run["side"] == side), key=lambda run: run["images"])
    cost = long["cpu_ms_per_image"] / short["cpu_ms_per_image"] - 1
    memory = long["memory_mb_by_tenth"]["median"] - short["memory_mb_by_tenth"]["median"]
    return (
        f"From {short['images']:,} to {long['images']:,} images the cost of one changes by {100 * cost:+.0f} % and the "
        f"memory by {memory:+.0f} MB."
    )


def batch_plan() -> str:
    """Ten million images on a hundred machines, from what one image costs here."""
    report = load("docs/results/batch.json")
    most = max(report["runs"], key=lambda run: run["images"])
    run = max((run for run in report["runs"] if run["side"] == 1024), key=lambda run: run["images"])
    terabytes = IMAGES * report["image_bytes"] / 1e12
    scoring = IMAGES * run["cpu_ms_per_image"] / 1000 / (NODES * CORES)
    reading = terabytes * 1000 / NODES / LINE_GB_S
    plan, summary = (IMAGES * most[f"{step}_us_per_image"] / 1e6 for step in ("plan", "summary"))
    listing = IMAGES / LISTED * LIST_S
    work = max(scoring, reading)
    steps = {"listing a bucket": listing, "plan": plan, "cores": scoring, "network": reading, "summary": summary}
    listed = max(list(steps)[1:], key=steps.__getitem__)
    rows = [
        ["one image: CPU time, size", f"{run['cpu_ms_per_image']:.1f} ms, {report['image_bytes'] / 1e6:.2f} MB"],
        ["machine as measured", f"{run['images_per_s']:.0f} images a second on {report['workers']} cores"],
        [
            f"machine of {CORES} cores that are all busy",
            f"{CORES * 1000 / run['cpu_ms_per_image']:,.0f} images a second",
        ],
        ["reading that it needs for that", f"{1000 * terabytes * 1000 / scoring / NODES:,.0f} MB/s"],
        [
            f"reading that {NODES} need",
            f"{terabytes * 1000 / scoring:,.0f} GB/s, {IMAGES / scoring:,.0f} files a second: "
            f"{IMAGES / scoring / PREFIX_READS:.0f} prefixes of S3",
        ],
        ["1. listing a bucket, one process; not with a list", _duration(listing)],
        ["2. plan from a list, one process", _duration(plan)],
        [f"3. scoring, {NODES} machines: their cores", _duration(scoring)],
        [f"3. scoring, {NODES} machines: reading at {LINE_GB_S:g} GB/s each", _duration(reading)],
        ["4. summary, one process", _duration(summary)],
        ["**all, from a list**", f"**{_duration(plan + work + summary)}**; longest: {listed}"],
        ["all, from a bucket", f"{_duration(listing + plan + work + summary)}; longest: {max(steps, key=steps.get)}"],
        [f"reading from one file server of {SERVER_GB_S:g} GB/s instead", _duration(terabytes * 1000 / SERVER_GB_S)],
        ["images", f"{terabytes:.1f} TB; as tar files of 1,000 images {IMAGES // 1000:,} objects"],
        ["parts", f"{IMAGES * most['row_bytes'] / 1e9:.1f} GB in about {IMAGES // SHARD:,} files"],
        ["plan", f"{IMAGES * most['plan_bytes'] / 1e6:,.0f} MB"],
    ]
    return (
        table(["what", "expected"], rows)
        + f"\nComputed from the run of {run['images']:,} images of {run['side']} x {run['side']} pixels and, for plan, "
        f"summary and files, from that of {most['images']:,} above, for cores like these; a store is taken to list "
        f"{LISTED} objects in {LIST_S:g} s. Nobody has run this.\n"
    )


def _duration(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def drift() -> str:
    """What the summary says of the test split, as a whole and by collection."""
    report = load("docs/results/drift.json")
    parts = report["parts"]
    quantities = list(parts["all"]["drift"])
    rows = [
        [
            "test split" if name == "all" else f"of it, {name}",
            str(part["images"]),
            *(f"{one['index']:.2f} ({one['chance']:.2f}): {one['change']}" for one in part["drift"].values()),
        ]
        for name, part in parts.items()
    ]
    about = (
        f"Population stability index against the {parts['all']['reference']:,} training and validation images, "
        f"in brackets what 5 % of samples of the size exceed by chance; model `{report['model']}`."
    )
    return table(["images", "n", *quantities], rows) + f"\n{about}\n"
