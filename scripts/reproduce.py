"""From the raw collections to the shipped model and its figures: ``make reproduce DATA=...``.

Every step is a ``covidcxr`` command that also works by hand. Existing results are kept, and an interrupted training
continues.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

LOG = str(Path(__file__).parents[1] / "docs" / "external-log.csv")
COVIDCXR = str(Path(sys.executable).parent / "covidcxr")


def steps(data: Path, out: Path) -> list[tuple[Path, list[str]]]:
    """Return the steps in order, each as its result file and its command."""
    manifest = out / "manifest.csv"
    given = ["--manifest", str(manifest)]
    plan = [(manifest, ["data", "build", "--root", str(data), "--out", str(manifest)])]
    for recipe, protocols in (("classic", ("classic", "controls")), ("default", ("held-out", "external"))):
        run, model, audit = out / recipe, out / f"{recipe}.onnx", out / f"audit-{recipe}"
        plan.append((run / "model.keras", ["train", recipe, *given, "--out", str(run)]))
        if recipe == "default":
            plan.append((run / "gate.npz", ["gate", "train", str(run), *given]))
        plan.append((run / "model.onnx", ["export", str(run), "--out", str(run / "model.onnx")]))
        audited = ["audit", str(run / "model.onnx"), *given, "--out", str(audit), "--write-into", str(model)]
        plan.append((model, audited))
        for protocol in protocols:
            report = out / "reports" / protocol
            command = ["evaluate", protocol, str(model), *given, "--out", str(report)]
            plan.append((report / "report.html", command + (["--log", LOG] if protocol == "external" else [])))
    measured = [str(out / "default.onnx"), "--run", str(out / "default"), *given, "--out", str(out / "gate")]
    plan.append((out / "gate" / "gate.json", ["gate", "evaluate", *measured, *_pictures(out)]))
    unseen = out / "reports" / "unseen-hospitals"
    plan.append((unseen / "report.html", ["evaluate", "unseen-hospitals", "default", *given, "--out", str(unseen)]))
    plan.append((out / "data" / "data.html", ["data", "report", str(manifest), "--out", str(out / "data")]))
    return plan


def _pictures(out: Path) -> list[str]:
    """Return the option for photographs and screenshots, if the commands of docs/gate.md have made some."""
    pictures = out / "pictures"
    return ["--pictures", str(pictures)] if pictures.is_dir() else []


def main() -> None:
    """Run all steps and print their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the collections as published")
    parser.add_argument("--out", type=Path, required=True, help="folder for manifest, runs, models and reports")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for result, command in steps(arguments.data, arguments.out):
        shown = f"covidcxr {' '.join(command)}"
        if result.exists():
            print(f"kept: {shown}")
            continue
        print(f"--- {shown}", flush=True)
        start = time.monotonic()
        if subprocess.run([COVIDCXR, *command], check=False).returncode:
            sys.exit(f"Failed: {shown}. Run the same command again to continue from here.")
        print(f"--- {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
