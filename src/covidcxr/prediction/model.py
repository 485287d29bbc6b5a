"""The public face of the package: one object that takes images in any form."""

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covidcxr.errors import ArtifactError, ImageError
from covidcxr.images.convert import as_grey
from covidcxr.images.paths import ImagePath, expand
from covidcxr.prediction.artifact import EMBEDDING
from covidcxr.prediction.fields import columns
from covidcxr.prediction.predictor import Prediction, Predictor
from covidcxr.prediction.scoring import AT_ONCE, decode_files, score_files

if TYPE_CHECKING:
    import pandas as pd

    from covidcxr.images.convert import ImageSource


def load_model(path: str | os.PathLike[str] | None = None, *, threads: int = 0) -> "Model":
    """Load a model.

    Args:
        path: ONNX file exported by covidcxr; None loads the model that comes with the package.
        threads: Threads for one prediction; 0 takes all cores.

    Raises:
        ArtifactError: No such file, or not a model file of covidcxr; the message names it.
    """
    return Model(Predictor.load(None if path is None else Path(path), threads=threads))


class Model:
    """A loaded model. Safe to share between threads.

    Attributes:
        predictor: The model for decoded images, with the contract of its file.

    Example:
        A drawn radiograph; a path works the same way.

        >>> import covidcxr, numpy as np
        >>> from covidcxr.images.phantom import radiograph
        >>> model = covidcxr.load_model()
        >>> prediction = model.predict(radiograph(np.random.default_rng(0), size=(1024, 896)))
        >>> str(prediction.label), prediction.abstained
        ('normal', False)
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __repr__(self) -> str:
        return f"<covidcxr model {self.predictor.model}: {', '.join(self.predictor.artifact.labels)}>"

    def predict(self, image: "ImageSource") -> Prediction:
        """Score one image.

        Args:
            image: Path, bytes, binary file, array (any number type, grey or RGB), Pillow image or pydicom data set;
                see covidcxr.images.convert.as_grey.

        Raises:
            ImageError: The image cannot be scored; the message says why.
            TypeError: The image has none of these forms.
        """
        return self.predictor.predict(as_grey(image))

    def predict_folder(self, folder: str | os.PathLike[str]) -> "pd.DataFrame | list[dict[str, Any]]":
        """Score all images below a folder.

        Args:
            folder: Searched as by ``covidcxr predict``.

        Returns:
            One row for each image, sorted by path, with the columns of ``covidcxr predict --csv``; ``error`` says
            why an image could not be scored. A pandas DataFrame if pandas is installed, else a list of dicts.

        Raises:
            ImageError: No folder, or one without images; the message names it.
        """
        table = columns(self.predictor.artifact)
        answers = (outcome.to_dict() for outcome in score_files(self.predictor, _images_below(folder)))
        rows = [{column.name: column.value(answer) for column in table} for answer in answers]
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows, columns=[column.name for column in table])

    def features(self, folder: str | os.PathLike[str]) -> NDArray[np.float32]:
        """Compute the features that the last layer sees, for all images below a folder.

        Args:
            folder: Searched as by ``predict_folder``.

        Returns:
            float32, shape (n, d), rows as in ``predict_folder``; a row of NaN for an image that cannot be decoded.

        Raises:
            ImageError: No folder, or one without images; the message names it.
            ArtifactError: The model does not give its features.
        """
        if EMBEDDING not in self.predictor.outputs:
            raise ArtifactError(f"Expected a model with the output {EMBEDDING}. Received {self.predictor.model}.")
        rows: list[NDArray[np.float32] | None] = []
        outcomes = decode_files(_images_below(folder))
        while some := list(islice(outcomes, AT_ONCE)):
            greys = [outcome.grey for outcome in some if outcome.grey is not None]
            embedded = iter(self.predictor.run(greys, [EMBEDDING])[EMBEDDING] if greys else ())
            rows += [None if outcome.grey is None else next(embedded) for outcome in some]
        width = max((len(row) for row in rows if row is not None), default=0)
        return np.array([np.full(width, np.nan) if row is None else row for row in rows], np.float32)


def _images_below(folder: str | os.PathLike[str]) -> list[ImagePath]:
    if not Path(folder).is_dir():
        raise ImageError(f"Expected a folder. Received {os.fspath(folder)}.")
    files = expand([os.fspath(folder)])
    if len(files) == 1 and files[0].error:
        raise ImageError(files[0].error)
    return files
