"""Images per second of the classic network over files decoded with Pillow. Arguments: predict or call, model, files.

``predict`` scores one image at a time with Keras ``predict``, as tutorials do; ``call`` calls the model directly with
BATCH images at a time.
"""

import sys
import time

import numpy as np
from keras.models import load_model
from PIL import Image

BATCH = 16


def decode(path: str) -> np.ndarray:
    """Decode an image as tutorials do: float32, shape (224, 224, 3), 0..1."""
    return np.asarray(Image.open(path).convert("RGB").resize((224, 224)), np.float32) / 255


def main() -> None:
    """Print the rate over all files; the first few warm TensorFlow up and are not timed."""
    kind, path, *files = sys.argv[1:]
    model = load_model(path)
    size = 1 if kind == "predict" else BATCH

    def score(paths: list[str]) -> None:
        for start in range(0, len(paths), size):
            batch = np.stack([decode(name) for name in paths[start : start + size]])
            model.predict(batch, verbose=0) if kind == "predict" else np.asarray(model(batch, training=False))

    score(files[: 2 * BATCH])
    start = time.perf_counter()
    score(files)
    print(len(files) / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
