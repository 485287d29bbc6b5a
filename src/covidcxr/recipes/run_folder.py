"""Run folders: they record what their content was made from, so that a later call continues with that or refuses."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidcxr._files import whole
from covidcxr.errors import RecipeError

RECIPE, RUN = "recipe.toml", "run.json"


def holds_run(
    out: Path,
    depends: Mapping[str, Any],
    *,
    recipe: str | None = None,
) -> bool:
    """Tell whether a folder already holds a run, and check that it is the same one.

    Args:
        out: The folder; it may not exist yet.
        depends: What the run depends on, as JSON gives it back; run.json may hold more.
        recipe: Recipe of the run as TOML; None for runs without one.

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


def write_run(out: Path, about: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Write what a new run depends on into its folder, run.json last.

    After an interruption the folder holds some of the files, each whole, and the same call completes it.

    Args:
        out: The folder, which is made if missing.
        about: Content of run.json.
        files: Text of further files by name.

    Raises:
        RecipeError: The folder holds other files, or cannot be written.
    """
    content = {**files, RUN: json.dumps(about, indent=2) + "\n"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = [entry for entry in out.iterdir() if not entry.name.startswith(".")]
        if not all(entry.name in content and _holds(entry, content[entry.name]) for entry in held):
            raise RecipeError(f"Expected a new or empty run folder. Received {out} with other files in it.")
        for name, text in content.items():
            with whole(out / name) as partial:
                partial.write_text(text, "utf-8")
    except OSError as error:
        raise RecipeError(f"Expected a folder that can be written. Received {out}: {error.strerror}.") from error


def _holds(path: Path, text: str) -> bool:
    """Tell whether a file exists and holds exactly this text."""
    try:
        return path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def read_run(run: Path) -> dict[str, Any]:
    """Return the content of run.json in a run folder: recipe, data hash, seed, labels, versions.

    Raises:
        RecipeError: Not a run folder, or its run.json cannot be read.
    """
    if not (run / RUN).is_file():
        raise RecipeError(f"Expected a run folder of 'covidcxr train'. Received {run} without {RUN}.")
    try:
        content: dict[str, Any] = json.loads((run / RUN).read_text("utf-8"))
        content["data_hash"]  # every run has one
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"Expected the {RUN} of a run. Received {run / RUN}: {error!r}") from error
    return content
