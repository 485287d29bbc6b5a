"""From the raw collections to the shipped model and its figures: ``make reproduce DATA=...``.

Every step is a command of ``covidcxr`` that can be run by hand; a step whose result stands already is skipped, a
training that was stopped goes on.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

LOOKS = str(Path(__file__).parents[1] / "docs" / "external-looks.csv")
COVIDCXR = str(Path(sys.executable).parent / "covidcxr")


def steps(data: Path, out: Path) -> list[tuple[Path, list[str]]]:
    """Return each step as the file that it leaves and its command."""
    manifest = out / "manifest.csv"
    plan = [(manifest, ["data", "build", "--root", str(data), "--out", str(manifest)])]
    for recipe, protocols in (("classic", ("P1", "P2")), ("default", ("P5", "P4"))):
        run, model = out / recipe, out / f"{recipe}.onnx"
        given = ["--manifest", str(manifest)]
        plan.append((run / "model.keras", ["train", "--recipe", recipe, *given, "--out", str(run)]))
        plan.append((model, ["export", str(run), "--out", str(model)]))
        for protocol in protocols:
            report = out / protocol
            command = ["evaluate", "--protocol", protocol, "--model", str(model), *given, "--out", str(report)]
            plan.append((report / "report.html", command + (["--looks", LOOKS] if protocol == "P4" else [])))
    p3 = ["evaluate", "--protocol", "P3", "--recipe", "default", "--manifest", str(manifest), "--out", str(out / "P3")]
    plan.append((out / "P3" / "report.html", p3))
    plan.append((out / "data" / "data.html", ["data", "report", str(manifest), "--out", str(out / "data")]))
    return plan


def main() -> None:
    """Run all steps and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the collections as published")
    parser.add_argument("--out", type=Path, required=True, help="folder for manifest, runs, models and reports")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for result, command in steps(arguments.data, arguments.out):
        shown = f"covidcxr {' '.join(command)}"
        if result.exists():
            print(f"done already: {shown}")
            continue
        print(f"--- {shown}", flush=True)
        start = time.monotonic()
        if subprocess.run([COVIDCXR, *command], check=False).returncode:
            sys.exit(f"Stopped at: {shown}. The same command goes on from here.")
        print(f"--- {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
