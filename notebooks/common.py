"""What all notebooks need: the manifest of the collections, without the external hospital."""

import os
from pathlib import Path

from covidcxr.data.build import build
from covidcxr.data.collect import find_collections, write_rejects
from covidcxr.data.duplicates import write_duplicates
from covidcxr.data.manifest import FRONTAL_VIEWS, Record, read_manifest, write_manifest
from covidcxr.recipes.recipe import recipe_text

HERE = Path(__file__).parent
DATA = Path(os.environ.get("COVIDCXR_DATA", HERE.parents[1] / "shared" / "data")).resolve()
WORK = Path(os.environ.get("COVIDCXR_WORK", HERE / "work")).resolve()
"""Folder for everything that the notebooks make; may be deleted at any time."""
MANIFEST = WORK / "manifest.csv"
SHARE = float(os.environ.get("COVIDCXR_NOTEBOOKS_SHARE", "1"))
"""Share of the epochs in notebooks 2, 3 and 5 and of the images in notebook 4, 0.4..1; the tests set less than 1."""
CLASSIC = (
    recipe_text("classic").replace("size = 224", "size = 96").replace("epochs = 10", f"epochs = {round(10 * SHARE)}")
)
"""The classic recipe on images of 96 x 96 instead of 224 x 224 pixels, which takes a fifth of the time."""


def internal_root() -> Path:
    """Return a folder with links to every collection but the external one, so that nothing can read that one."""
    root = WORK / "collections"
    root.mkdir(parents=True, exist_ok=True)
    for source in find_collections(DATA):
        link = root / source.folder
        if not source.external and not link.exists():
            link.symlink_to(DATA / source.folder, target_is_directory=True)
    return root


def manifest() -> list[Record]:
    """Return all usable images; the first call reads every image once, which takes minutes."""
    if not MANIFEST.exists():
        made = build(internal_root(), views=FRONTAL_VIEWS, seed=0)
        write_rejects(made.rejects, MANIFEST.with_suffix(".rejects.csv"))
        write_duplicates(made.duplicates, MANIFEST.with_suffix(".duplicates.csv"))
        write_manifest(made.records, MANIFEST)
    return read_manifest(MANIFEST)


def classic_model(records: list[Record]) -> Path:
    """Return the exported classic network, trained on the first call; a stopped training resumes."""
    from covidcxr.training.export import export
    from covidcxr.training.fit import train

    model = WORK / "classic.onnx"
    if not model.exists():
        train(records, CLASSIC, WORK / "classic")
        export(WORK / "classic", model)
    return model
