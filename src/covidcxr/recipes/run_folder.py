"""Folders that say what their content was made from: a later call goes on with that and never with anything else."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from covidcxr.errors import RecipeError

RECIPE, RUN = "recipe.toml", "run.json"
PARTIAL = "partial-"
"""What the name of a file begins with that is not written whole."""


def holds_run(
    out: Path,
    depends: Mapping[str, Any],
    *,
    recipe: str | None = None,
) -> bool:
    """Tell whether a folder holds a run already, and check that it is the same.

    Args:
        out: The folder; it need not be there.
        depends: What the run depends on, as JSON gives it back; run.json may hold more.
        recipe: Its recipe as TOML; None for runs without.

    Raises:
        RecipeError: The folder holds another run, or one that cannot be read.
    """
    if not (out / RUN).exists():
        return False
    content = read_run(out)
    found = {key: content.get(key) for key in depends}
    others = [f"{key} {found[key]!r}, not {value!r}" for key, value in depends.items() if found[key] != value]
    if recipe is not None and not _holds(out / RECIPE, recipe):
        others.append(f"another {RECIPE}")
    if others:
        raise RecipeError(f"Expected a new folder, or one of the same run. Received {out} with {'; '.join(others)}.")
    return True


def write_run(out: Path, about: Mapping[str, Any], files: Mapping[str, str], *, beside: Collection[str] = ()) -> None:
    """Write what a new run depends on into its folder.

    A stop in between leaves some of the files, each whole, but not run.json; the same call then goes on.

    Args:
        out: Made where it is not there.
        about: What run.json holds.
        files: Text of further files by name.
        beside: Names of what else the folder may hold.

    Raises:
        RecipeError: The folder holds other files, or cannot be written.
    """
    content = {**files, RUN: json.dumps(about, indent=2) + "\n"}
    known = {*beside, *(PARTIAL + name for name in content)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = [entry for entry in out.iterdir() if entry.name not in known]
        if not all(entry.name in content and _holds(entry, content[entry.name]) for entry in held):
            raise RecipeError(f"Expected a new or empty run folder. Received {out} with other files in it.")
        for name, text in content.items():  # run.json last: it says that the others are there
            partial = out / f"{PARTIAL}{name}"
            partial.write_text(text, "utf-8")
            partial.replace(out / name)
    except OSError as error:
        raise RecipeError(f"Expected a folder that can be written. Received {out}: {error.strerror}.") from error


def _holds(path: Path, text: str) -> bool:
    """Tell whether a file is there and holds just this text."""
    try:
        return path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def read_run(run: Path) -> dict[str, Any]:
    """Return what run.json of a run folder holds: recipe, data hash, seed, labels, versions.

    Raises:
        RecipeError: Not a run folder, or its run.json cannot be read.
    """
    if not (run / RUN).is_file():
        raise RecipeError(f"Expected a run folder of 'covidcxr train'. Received {run} without {RUN}.")
    try:
        content: dict[str, Any] = json.loads((run / RUN).read_text("utf-8"))
        content["data_hash"]  # which every run has
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"Expected the {RUN} of a run. Received {run / RUN}: {error!r}") from error
    return content
