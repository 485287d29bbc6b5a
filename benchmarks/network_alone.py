"""Time of a network alone on one image.

Usage: ``network_alone.py KIND MODEL``, where KIND is ``keras-predict``, ``keras-call`` or ``onnxruntime``.
"""

import json
import sys
import time

import numpy as np

RUNS = 20


def main() -> None:
    """Print the milliseconds of each run as a JSON list."""
    kind, path = sys.argv[1:]
    if kind == "onnxruntime":
        import onnxruntime as ort

        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 1), np.uint8)

        def run() -> None:
            session.run(None, {"image": image})
    else:
        from keras.models import load_model

        model = load_model(path)
        batch = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)

        def run() -> None:
            model.predict(batch, verbose=0) if kind == "keras-predict" else np.asarray(model(batch, training=False))

    for _ in range(5):
        run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
