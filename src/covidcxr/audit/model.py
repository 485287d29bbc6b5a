"""Models to audit: functions from decoded images to scores, and to maps and features if the model has them.

The only module of the audit that reads model files. TensorFlow is imported only for a Keras model.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from covidcxr._files import whole
from covidcxr.audit.describe import Description, read_description
from covidcxr.errors import ArtifactError
from covidcxr.images.grey import Grey
from covidcxr.labels import Label
from covidcxr.prediction.artifact import ACTIVATION_MAP, EMBEDDING, METADATA_KEY, PROBABILITIES, Artifact
from covidcxr.prediction.lungs import WHOLE, Box
from covidcxr.prediction.predictor import Predictor
from covidcxr.prediction.session import open_session
from covidcxr.prediction.verdict import Audit

if TYPE_CHECKING:
    import keras

BATCH = 16
Randomise = Callable[[float], "Subject"]
"""``randomise(share)``: the same model with this share of its weight arrays shuffled, starting at the output."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for n images.

    Attributes:
        scores: float64, shape (n, classes), probabilities.
        maps: float64, shape (n, h, w, classes), evidence for every class; None if the model has no map.
        embedding: float64, shape (n, features), features behind the scores; None if the model gives none.
    """

    scores: NDArray[np.float64]
    maps: NDArray[np.float64] | None = None
    embedding: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to audit.

    Attributes:
        name: Name in the report.
        labels: Classes in the order of the columns.
        predict: Function from decoded images, 1 to BATCH of them, to outputs.
        box: Left, top, right and bottom edge of the map as shares of the image.
        artifact: Metadata of a model exported by covidcxr, else None.
        recipe: Recipe as TOML, which selects training and test images; None if unknown.
        randomise: See Randomise; None if the weights are not accessible.
    """

    name: str
    labels: tuple[Label, ...]
    predict: Callable[[Sequence[Grey]], Outputs]
    box: Box = WHOLE
    artifact: Artifact | None = None
    recipe: str | None = None
    randomise: Randomise | None = None

    @property
    def covid(self) -> int:
        """The column of COVID-19."""
        return self.labels.index(Label.COVID)

    def outputs(self, greys: Sequence[Grey]) -> Outputs:
        """Return the outputs for any number of images, at least one."""
        parts = [self.predict(greys[start : start + BATCH]) for start in range(0, len(greys), BATCH)]

        def joined(name: str) -> Any:  # noqa: ANN401 - an array or None
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else np.concatenate(values)

        return Outputs(joined("scores"), joined("maps"), joined("embedding"))

    def scores(self, greys: Sequence[Grey]) -> NDArray[np.float64]:
        """Return the probabilities: float64, shape (n, classes)."""
        return self.outputs(greys).scores


def load_subject(path: Path, description: Path | None = None) -> Subject:
    """Load a model to audit.

    Args:
        path: File of ``covidcxr export``, folder of ``covidcxr train``, or any other ONNX or Keras file.
        description: TOML description of any other file; see covidcxr.audit.describe.

    Raises:
        ArtifactError: The file is not readable as a model, or lacks a description; the message names it.
        RecipeError: The folder is not a finished run.
    """
    if path.is_dir():
        return _of_run(path)
    if path.suffix == ".keras" or path.suffix == ".h5":
        return _of_keras(path, _described(path, description))
    if path.suffix != ".onnx" or not path.is_file():
        raise ArtifactError(f"Expected a run folder or a file .onnx, .keras or .h5. Received {path}.")
    if description:
        return _of_onnx(path.name, _proto(path), read_description(description))
    proto = _proto(path)
    if METADATA_KEY not in {entry.key for entry in proto.metadata_props}:
        _described(path, None)
    predictor = Predictor.load(path)
    return _of_predictor(predictor, proto)


def write_audit(path: Path, audit: Audit, out: Path) -> None:
    """Copy a model file of covidcxr with the outcome of its audit added to the metadata.

    Args:
        path: The model that was audited.
        audit: The outcome.
        out: File to write; may be ``path``.
    """
    proto = _proto(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    artifact = replace(Artifact.from_metadata(metadata, str(path)), audit=audit)
    onnx.helper.set_model_props(proto, metadata | artifact.to_metadata())
    with whole(out) as partial:
        onnx.save(proto, partial)


def _described(path: Path, description: Path | None) -> Description:
    if description is None:
        raise ArtifactError(
            f"Expected a file of 'covidcxr export', or --describe FILE.toml with labels and preprocessing. "
            f"Received only {path}."
        )
    return read_description(description)


def _proto(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(os.fspath(path))
    except Exception as error:  # protobuf has exceptions of its own
        raise ArtifactError(f"Expected a model file in ONNX format. Received {path}: {error}") from error


def _of_predictor(predictor: Predictor, proto: onnx.ModelProto) -> Subject:
    artifact = predictor.artifact
    names = predictor.outputs & {PROBABILITIES, ACTIVATION_MAP, EMBEDDING}

    def randomise(share: float) -> Subject:
        shuffled = _shuffled(proto, share)
        return _of_predictor(
            Predictor(open_session(shuffled.SerializeToString(), name=predictor.model), artifact, predictor.model),
            shuffled,
        )

    return Subject(
        name=predictor.model,
        labels=artifact.labels,
        predict=lambda greys: _outputs(predictor.run(greys, names), PROBABILITIES, ACTIVATION_MAP, EMBEDDING),
        box=artifact.preprocessing.box,
        artifact=artifact,
        recipe=artifact.recipe or None,
        randomise=randomise,
    )


def _outputs(values: dict[str, Any], scores: str, maps: str | None, embedding: str | None) -> Outputs:
    found = (np.asarray(values[name], np.float64) if name in values else None for name in (maps, embedding))
    return Outputs(np.asarray(values[scores], np.float64), *found)


def _of_onnx(name: str, proto: onnx.ModelProto, description: Description) -> Subject:
    session = open_session(proto.SerializeToString(), name=name)
    first, given = session.get_outputs()[0].name, description.outputs
    scores, maps, embedding = given.get("scores", first), given.get("map"), given.get("embedding")
    names = [output for output in (scores, maps, embedding) if output]
    unknown = set(names) - {output.name for output in session.get_outputs()}
    if unknown:
        raise ArtifactError(f"Expected the outputs {', '.join(sorted(unknown))} in {name}. Received a file without.")

    def predict(greys: Sequence[Grey]) -> Outputs:
        batch = np.stack([description.preprocessing(grey) for grey in greys])
        values = _run(name, lambda: session.run(names, {session.get_inputs()[0].name: batch}))
        found = _outputs(dict(zip(names, values, strict=True)), scores, maps, embedding)
        return Outputs(_probabilities(name, description, found.scores), found.maps, found.embedding)

    return Subject(
        name=name,
        labels=description.labels,
        predict=predict,
        randomise=lambda share: _of_onnx(name, _shuffled(proto, share), description),
    )


def _run(name: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - arrays of the library called
    try:
        return call()
    except Exception as error:  # exceptions of ONNX Runtime and of Keras have no common base
        raise ArtifactError(f"Expected {name} to take the input of its description. Received: {error}") from error


def _probabilities(name: str, description: Description, values: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return description.probabilities(values)
    except ValueError as error:
        raise ArtifactError(f"Expected scores of {name} as in its description. Received: {error}") from error


def _shuffled(proto: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """Shuffle the values within this share of the weight arrays, those used last."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    used = {name: place for place, node in enumerate(copy.graph.node) for name in node.input}
    weights = [w for w in copy.graph.initializer if w.data_type == onnx.TensorProto.FLOAT and len(w.dims) >= 2]
    weights.sort(key=lambda weight: used.get(weight.name, -1), reverse=True)
    rng = np.random.default_rng(0)
    for weight in weights[: round(share * len(weights))]:
        values = numpy_helper.to_array(weight)
        shuffled = rng.permutation(values.ravel()).reshape(values.shape)
        weight.CopyFrom(numpy_helper.from_array(shuffled, weight.name))
    return copy


def _of_run(run: Path) -> Subject:
    from covidcxr.recipes.run_folder import RECIPE
    from covidcxr.training.export import serving_model
    from covidcxr.training.fit import load_run

    model, recipe = load_run(run)
    text = (run / RECIPE).read_text("utf-8")

    def subject(network: "keras.Model") -> Subject:
        serving = serving_model(network)

        def predict(greys: Sequence[Grey]) -> Outputs:
            batch = np.stack([recipe.preprocessing(grey) for grey in greys])[..., np.newaxis]
            values = serving(batch, training=False)
            return _outputs(values, PROBABILITIES, ACTIVATION_MAP, EMBEDDING)

        return Subject(
            name=f"{recipe.name} in {run.name}",
            labels=recipe.labels,
            predict=predict,
            box=recipe.preprocessing.box,
            recipe=text,
            randomise=lambda share: subject(shuffled_keras(network, share)),
        )

    return subject(model)


def _of_keras(path: Path, description: Description) -> Subject:
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # exceptions of Keras have no common base
        raise ArtifactError(f"Expected a model file of Keras. Received {path}: {error}") from error

    def predict(greys: Sequence[Grey]) -> Outputs:
        batch = np.stack([description.preprocessing(grey) for grey in greys])
        values = _run(path.name, lambda: np.asarray(model(batch, training=False)))
        return Outputs(_probabilities(path.name, description, values))

    return Subject(name=path.name, labels=description.labels, predict=predict)


def shuffled_keras(model: "keras.Model", share: float) -> "keras.Model":
    """Return a copy with the values shuffled within this share of the weight arrays, those nearest the output."""
    import keras

    copy = keras.models.clone_model(model)
    weights = model.get_weights()
    places = [place for place, values in enumerate(weights) if values.ndim >= 2][::-1]
    rng = np.random.default_rng(0)
    for place in places[: round(share * len(places))]:
        weights[place] = rng.permutation(weights[place].ravel()).reshape(weights[place].shape)
    copy.set_weights(weights)
    return copy
