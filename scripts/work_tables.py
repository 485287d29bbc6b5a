"""Tables of where the time goes: decoding, network, a folder, other runtimes; from the JSON files in benchmarks."""

from tables import load, ratio, share, spread, table

TARGET = {"batch 16": 0.65, "folder": 0.85, "cold": 2.5, "classic": 10.0}
"""What was aimed at: shares, and ratios."""


def _conditions(found: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['machine']}; {versions}."


def cold_command() -> str:
    """The command for one picture against what it has to import."""
    found = load("benchmarks/speed.json")["cold_s"]
    rows = [[f"`{name}`" if "covidcxr" in name else name, spread(e, "s")] for name, e in found.items()]
    command, imports = (e["median"] for e in found.values())
    return (
        table(["", "time"], rows)
        + f"\nRatio {ratio(command, imports)}; aimed at less than {TARGET['cold']}x. Imports: NumPy, Pillow, "
        f"ONNX Runtime, by `python -c`. Median (smallest to largest) of {found['imports alone']['n']} runs in turn.\n"
    )


def decoding() -> str:
    """Milliseconds by format and size."""
    rows = load("benchmarks/speed.json")["decoding"]
    sides = sorted({row["side"] for row in rows})
    by_format = {
        row["format"]: [spread(one["ms"], "ms") for one in rows if one["format"] == row["format"]] for row in rows
    }
    header = ["one synthetic radiograph", *[f"{side} x {side}" for side in sides]]
    return table(header, [[name, *cells] for name, cells in by_format.items()])


def one_core() -> str:
    """The network against the processor."""
    found = load("benchmarks/speed.json")
    network = found["network"]
    peak, operations = network["peak_per_s"]["median"], network["operations"]
    rows = [
        [
            f"batch of {size}" if size != "1" else "one image",
            spread(e, "ms"),
            f"{_share_of_peak(e, operations, peak)} %",
        ]
        for size, e in network["ms"].items()
    ]
    total = sum(network["layers_ms"].values())
    parts = [[name, f"{ms:.2f} ms", f"{100 * ms / total:.0f} %"] for name, ms in network["layers_ms"].items()]
    return (
        table(["network on one core, fp32", "for one image", "of the peak"], rows)
        + f"\nThe peak is a matrix product by ONNX Runtime on the same core: {peak / 1e9:.0f} billion operations a "
        f"second; the network's convolutions are {operations / 1e9:.2f} billion for an image. Aimed at: "
        f"{100 * TARGET['batch 16']:.0f} % with batches of 16.\n\n" + table(["of one image", "time", "share"], parts)
    )


def _share_of_peak(e: dict, operations: float, peak: float) -> str:
    return f"{100 * operations / (e['median'] / 1e3) / peak:.0f}"


APART, TOGETHER = ("decoding alone", "network alone"), "decoding, preprocessing and network"
"""What benchmarks/speed.py calls them."""


def folder() -> str:
    """Pictures a second on all cores."""
    found = load("benchmarks/speed.json")
    rates = found["per_s"]
    both = rates[TOGETHER]["median"]
    sides = {found["side"]: rates} | {int(side): parts for side, parts in found["per_s_by_side"].items()}
    by_side = [
        [
            f"{side} x {side}",
            *(spread(parts[name], "") for name in (*APART, TOGETHER)),
            f"{100 * parts[TOGETHER]['median'] / min(parts[name]['median'] for name in APART):.0f} %",
        ]
        for side, parts in sorted(sides.items())
    ]
    classic = {name: e["median"] for name, e in rates.items() if name.startswith("classic")}
    against = ", ".join(f"{ratio(both, rate)} the {name}" for name, rate in classic.items())
    return (
        table(["on all cores", "pictures a second"], [[name, spread(e, "")] for name, e in rates.items()])
        + f"\nAll of it reaches {against} (aimed at {TARGET['classic']:.0f}x the first). "
        f"Median (smallest to largest) of {rates[TOGETHER]['n']} rounds in turn; {found['files']} synthetic "
        f"radiographs, PNG, {found['side']} x {found['side']}; {_conditions(found)}\n\n"
        + table(["PNG", *APART, TOGETHER, "of the slower part"], by_side)
        + f"\nPictures a second, each alone with all cores for itself; aimed at {100 * TARGET['folder']:.0f} % of the "
        "slower part.\n"
    )


def runtimes() -> str:
    """Other arithmetic and another runtime."""
    found = load("benchmarks/runtimes.json")
    rows = [
        [
            name,
            spread(one["ms"], "ms"),
            spread(one["per_s"], ""),
            share(one["auroc"]),
            f"{one['difference']['median']:.3f}, {one['difference']['largest']:.3f}",
            f"{100 * one['difference']['other_label']:.1f} %",
        ]
        for name, one in found["variants"].items()
    ]
    header = [
        "",
        "preprocessing and network, one core",
        "a second, all cores, decoding included",
        "AUROC, COVID-19 against the rest",
        "largest change of a probability: median, largest",
        "other label",
    ]
    return (
        table(header, rows)
        + f"\nAUROC and changes on {found['test']['n']} images of {found['test']['patients']} held-out patients of the "
        f"training collections, 95 % interval by bootstrap over patients; model `{found['model']}`; int8 with the "
        f"ranges of {found['calibration']} training images; times: median (smallest to largest), in turn, synthetic "
        f"radiograph, PNG, 1024 x 1024; {_conditions(found)}\n"
    )
