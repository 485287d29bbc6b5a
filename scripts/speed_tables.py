"""Tables of speed, memory and size, from the JSON files in benchmarks and docs/results."""

from tables import ROOT, load, ratio, spread, table

AIMED_AT = {"cold_start_s": 15, "peak_mb": 7, "warm_request_ms": 4, "install_mb": 6, "per_s_1": 5, "per_s_8": 8}
"""Ratios to the classic deployment that were set before the work began."""
SHARE_OF_LOOP, TIMES_OF_SINGLE = 0.85, 64
"""Aimed at under load: of the speed without HTTP at least, and of the time of a single request less than."""


def speed() -> str:
    """The deployments against each other."""
    results = load("benchmarks/results.json")
    classic, ours = results["deployments"]["classic"], results["deployments"]["covidcxr"]
    names = {
        "cold_start_s": ("cold start to the first prediction over HTTP", "s"),
        "peak_mb": ("peak memory, all processes", "MB"),
        "warm_request_ms": ("warm request, one image, over HTTP", "ms"),
    }
    rows = [
        [
            text,
            spread(classic[key], unit),
            spread(ours[key], unit),
            ratio(classic[key]["median"], ours[key]["median"]),
            f"{AIMED_AT[key]}x",
        ]
        for key, (text, unit) in names.items()
    ]
    size = results["install_mb"]
    rows.append(
        [
            "serving install",
            f"{size['classic']:.0f} MB",
            f"{size['covidcxr']:.0f} MB",
            ratio(size["classic"], size["covidcxr"]),
            f"{AIMED_AT['install_mb']}x",
        ]
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        table(["", "classic deployment", "covidcxr", "ratio", "aimed at"], rows)
        + f"\nMedian (smallest to largest) of {ours['cold_start_s']['n']} starts of each in turn; "
        f"{results['picture']}; {results['machine']}; {versions}.\n"
    )


def imports() -> str:
    """What of the cold start is not ours to save."""
    found = load("benchmarks/results.json")
    return f"On this machine that takes {spread(found['imports_s'], 's')}.\n"


def networks() -> str:
    """The networks alone."""
    found = load("benchmarks/results.json")["network_ms"]
    ours = found["shipped network, ONNX Runtime"]["median"]
    rows = [[name, spread(e, "ms"), ratio(e["median"], ours)] for name, e in found.items()]
    return table(["one image, network alone", "time", "against the shipped network"], rows)


def training() -> str:
    """The network alone against the whole training pipeline."""
    if not (ROOT / "benchmarks/training.json").exists():
        return "Not measured yet.\n"
    found = load("benchmarks/training.json")
    verdict = "reached" if found["ratio"]["median"] >= found["target"] else "missed"
    rows = [
        ["network alone, one batch in memory", spread(found["network_images_per_s"], "images/s")],
        ["whole pipeline", spread(found["pipeline_images_per_s"], "images/s")],
        [f"ratio (target at least {found['target']:.2f}: {verdict})", spread(found["ratio"], "")],
    ]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        table(["training step", "median (smallest to largest)"], rows)
        + f"\nRecipe `{found['recipe']}`, learning from `{found['trainable']}` on, batches of {found['batch_size']}; "
        f"{found['ratio']['n']} rounds of {found['images']} synthetic radiographs, the two in turn; "
        f"{found['machine']}; {versions}.\n"
    )


def under_load() -> str:
    """The server under load, against the classic deployment and against a loop without HTTP."""
    if not (ROOT / "benchmarks/load.json").exists():
        return "Not measured yet.\n"
    found = load("benchmarks/load.json")
    classic, ours = found["deployments"]["classic"], found["deployments"]["covidcxr"]
    rows = [
        [
            f"requests a second, {clients} client{'s' if clients > 1 else ''}",
            spread(classic[f"per_s_{clients}"], ""),
            spread(ours[f"per_s_{clients}"], ""),
            ratio(ours[f"per_s_{clients}"]["median"], classic[f"per_s_{clients}"]["median"]),
            f"{AIMED_AT[f'per_s_{clients}']}x",
        ]
        for clients in (1, 8)
    ]
    rows.append(["pictures a second in a loop without HTTP", "", spread(found["loop_per_s"], ""), "", ""])
    many, single = found["many"], ours["p50_ms"]["median"]
    share_of_loop = many["per_s"] / found["loop_per_s"]["median"]
    return (
        table(["", "classic deployment", "covidcxr", "ratio", "aimed at"], rows)
        + f"\n{many['clients']} clients for {many['seconds']:.0f} s: {many['errors']} errors, "
        f"{many['per_s']:.1f} requests a second ({100 * share_of_loop:.0f} % of the loop, aimed at "
        f"{100 * SHARE_OF_LOOP:.0f} %), "
        f"95 % answered within {many['p95_ms']:.0f} ms "
        f"({many['p95_ms'] / single:.0f} times the {single:.1f} ms of a single request, aimed at less than "
        f"{TIMES_OF_SINGLE}). "
        f"Median (smallest to largest) of {ours['per_s_1']['n']} rounds; the client, wrk, runs on the same cores; "
        f"synthetic radiograph of 1024 x 1024; {found['machine']}.\n"
    )


def dicom() -> str:
    """The DICOM node killed, fuzzed, and beside Orthanc."""
    found = load("benchmarks/dicom.json")
    arrivals, killed, fuzzed = found["arrivals"], found["killed"], found["fuzzed"]
    rows = [
        [
            f"{killed['images']} images on {killed['associations']} associations, the node killed {killed['kills']} "
            "times with SIGKILL",
            f"{killed['reports']} reports, {killed['objects']} objects, none lost; {killed['sent_again']} came "
            f"again under the same UID with the same content, so that an archive has each once; "
            f"{killed['seconds']:.0f} s",
        ],
        [
            f"{fuzzed['messages'] // 2:,} mutated data sets and {fuzzed['messages'] // 2:,} mutated PDUs",
            f"the node is up and scores the next image; {fuzzed['seconds']:.0f} s, "
            f"{fuzzed['messages'] / fuzzed['seconds']:.0f} a second, at most {fuzzed['peak_mb']:.0f} MB",
        ],
        [
            f"image to Orthanc until its results stand in Orthanc, {arrivals['seconds']['n']} images in turn",
            spread(arrivals["seconds"], "s"),
        ],
        ["CPU time of the node for one image", f"{arrivals['node_cpu_s_per_image']:.2f} s"],
        ["its memory, at most", f"{arrivals['node_peak_mb']:.0f} MB"],
    ]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        table(["what", "measured"], rows)
        + "\nMedian (smallest to largest); the time of dcmtk's `storescu` is part of it. "
        f"Synthetic radiographs of {found['side']} x {found['side']}; model `{found['model']}`; sender, node and "
        f"archive on the same {found['machine']}; {versions}.\n"
    )
