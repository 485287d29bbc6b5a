"""Measurement of the gate of a model file on images that were not used in its training."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr import __version__
from covidcxr._files import write_json
from covidcxr.data.collect import Reject, read_rejects
from covidcxr.data.manifest import Record, Split, View, data_hash, read_manifest
from covidcxr.errors import ArtifactError, ImageError
from covidcxr.evaluation.metrics import mean_of
from covidcxr.images.decode import is_dicom, read_image
from covidcxr.images.grey import Grey
from covidcxr.images.paths import HEAD, expand, unique
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.gate.features import GATE_REPORT, SEED, kind_of, rejected_views, rejects_of
from covidcxr.training.gate.fit import ADULT
from covidcxr.training.gate.pictures import non_xrays

logger = logging.getLogger(__name__)

DRAWN = 350
EVALUATION_SEED = SEED + 1
"""Seed of the drawn images, other than in training."""
RADIOGRAPHY = ("CR", "DX")
"""DICOM modalities (PS3.3 section C.7.3.1.1.1) whose objects may be chest radiographs."""

Picture = tuple[Callable[[], Grey], str]
"""Function that draws or reads an image, and its group."""


def evaluate_gate(predictor: Predictor, manifest: Path, *, run: Path | None, pictures: Path | None) -> dict[str, Any]:
    """Measure the gate.

    Args:
        predictor: Model with a gate.
        manifest: Manifest of its training, next to the rejects.
        run: Run folder of the model, to include its rates on unseen collections; None leaves them out.
        pictures: Folder of images other than X-rays; None leaves them out.

    Returns:
        JSON values. For each group of images, ``declined`` contains n, the declined share, 0..1, with its 95 % interval
        by bootstrap over patients, the number of undecodable files, and the shares by flag.

    Raises:
        ArtifactError: The model has no gate.
    """
    if not predictor.artifact.gate:
        raise ArtifactError(f"Expected a model with a gate. Received {predictor.model} without one.")
    records = read_manifest(manifest)
    groups = _groups(records, read_rejects(rejects_of(manifest)), pictures)
    declined = {name: _share(predictor, group) for name, group in groups.items()}
    report: dict[str, Any] = {
        "model": predictor.model,
        "covidcxr": __version__,
        "manifest": data_hash(records),
        "declined": {name: row for name, row in declined.items() if row["n"]},
    }
    if run:
        report |= json.loads((run / GATE_REPORT).read_text("utf-8"))
    return report


def write_report(report: dict[str, Any], out: Path) -> Path:
    """Write gate.json into a folder and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / GATE_REPORT
    write_json(path, report)
    return path


def _groups(records: Sequence[Record], rejects: Sequence[Reject], pictures: Path | None) -> dict[str, list[Picture]]:
    held_out = [record for record in records if record.split is Split.TEST]
    views = rejected_views(rejects, records, held_out=True)
    groups: dict[str, list[Picture]] = {
        "drawn": [(partial(np.asarray, grey), str(i)) for i, grey in enumerate(non_xrays(DRAWN, seed=EVALUATION_SEED))],
        "pictures": _files(item.path for item in unique(expand([str(pictures)])) if pictures),
        "dicom": _files(dicom_of_other_parts()),
        **{
            view.value: [
                (partial(read_image, reject.path), reject.patient_id) for reject in views if reject.view is view
            ]
            for view in (View.CT, View.LATERAL)
        },
    }
    for kind in (FlagCode.CHILD, ADULT):
        groups[kind] = [
            (partial(read_image, record.path), record.group) for record in held_out if kind_of(record) == kind
        ]
    return groups


def dicom_of_other_parts() -> list[Path]:
    """Return the test files of the installed pydicom, except those that may be chest radiographs."""
    import pydicom

    found = []
    for path in sorted(Path(str(files("pydicom") / "data" / "test_files")).rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if not is_dicom(file.read(HEAD)):
                continue
        try:
            modality = pydicom.dcmread(path, stop_before_pixels=True).get("Modality")
        except Exception:  # some are broken on purpose
            modality = None
        if modality not in RADIOGRAPHY:
            found.append(path)
    return found


def _files(paths: Iterable[Path | str]) -> list[Picture]:
    return [(partial(read_image, Path(path)), str(path)) for path in paths]


def _share(predictor: Predictor, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return the share of images that the gate declines, whatever their predicted class."""
    codes: list[set[str]] = []
    groups: list[str] = []
    for read, group in pictures:
        try:
            flags = predictor.predict(read()).flags
        except ImageError as error:
            logger.info("%s", error)
            continue
        codes.append({str(flag.code) for flag in flags if flag.declines and flag.code is not FlagCode.UNCERTAIN})
        groups.append(group)
    if not codes:
        return {"n": 0}
    return {
        "n": len(codes),
        "groups": len(set(groups)),
        "not_decoded": len(pictures) - len(codes),
        **mean_of(np.array([bool(found) for found in codes]), np.array(groups), seed=SEED).to_dict(),
        "by_flag": {code: sum(code in found for found in codes) / len(codes) for code in sorted(set().union(*codes))},
    }
