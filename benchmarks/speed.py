"""Where the time goes: decoding, network, a folder, a cold command, against the classic network and the processor.

Part of ``make bench``; writes benchmarks/speed.json and its tables in the docs. Run on an otherwise idle machine.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image
from run import ENVIRONMENT, HERE, PYTHON, machine, summary
from tqdm import tqdm

from batch import dicom
from covidcxr._system import cores
from covidcxr.images.decode import decode_image
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.artifact import EMBEDDING, INPUT
from covidcxr.prediction.predictor import AT_ONCE, Predictor

MODEL = Path(str(files("covidcxr") / "assets" / "covidcxr.onnx"))
SIDES = (1024, 3000)
OTHER_SIDES = (299, 3000)
"""Pixels, for the share of the parts: those of the COVID-19 Radiography Database, and of a radiography plate."""
ROUNDS, REPEATS = 5, 20
FILES, FLAT_OUT_S = 400, 4.0
BATCHES = (1, 2, 4, 16)
MATRIX = 2048
"""Side of the matrices whose product is the peak: large enough for all of it, small enough for the cache."""
SEEN = 448
"""Pixels that a scaled decoding of a JPEG must leave: the network sees 224 of 80 % of the side."""


def milliseconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of some runs after a first one."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def in_turn(runs: dict[str, Callable[[], float]], what: str) -> dict[str, dict[str, float]]:
    """Measure each of some things ROUNDS times, in turn: what slows the machine for a while slows all."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in tqdm(range(ROUNDS), desc=what, disable=None):
        for name, run in runs.items():
            found[name].append(run())
    return {name: summary(values) for name, values in found.items()}


def encoded(side: int) -> dict[str, bytes]:
    """Return the same synthetic radiograph in the formats that most collections have."""
    grey = radiograph(np.random.default_rng(0), size=(side, side))
    found = {}
    for name, options in {"PNG": {}, "JPEG": {"quality": 92}}.items():
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, name, **options)
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    dicom(grey.astype(np.uint16) * 16).save_as(buffer, enforce_file_format=True)
    return found | {"DICOM, 12 bits, uncompressed": buffer.getvalue()}


def scaled(jpeg: bytes) -> None:
    """Decode a JPEG at the smallest scale of the format that leaves SEEN pixels."""
    image = Image.open(io.BytesIO(jpeg))
    image.draft("L", (SEEN, SEEN))
    image.load()


def decoding() -> list[dict[str, Any]]:
    """Milliseconds of decoding by size and format, and of the part of it that a scaled decoding of JPEG would be."""
    rows = []
    for side in SIDES:
        data = encoded(side)
        runs = {
            name: lambda content=content: milliseconds(lambda: decode_image(content, "picture"))
            for name, content in data.items()
        }
        runs["JPEG, scaled by its decoder"] = lambda jpeg=data["JPEG"]: milliseconds(lambda: scaled(jpeg))
        rows += [{"side": side, "format": name, "ms": ms} for name, ms in in_turn(runs, f"decoding {side}").items()]
    return rows


def session(threads: int, *, profile: bool = False) -> ort.InferenceSession:
    """Load the shipped network."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, profile
    return ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def operations() -> float:
    """Return the multiplications and additions of the network for one image, from the shapes of its graph."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(MODEL)).graph
    weights = {one.name: one.dims for one in graph.initializer}
    shapes = {one.name: [d.dim_value or 1 for d in one.type.tensor_type.shape.dim] for one in graph.value_info}
    shapes |= {one.name: [d.dim_value or 1 for d in one.type.tensor_type.shape.dim] for one in graph.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return sum(2.0 * np.prod(shapes[node.output[0]]) * np.prod(weights[node.input[1]][1:]) for node in convolutions)


def peak() -> float:
    """Return the operations a second of a matrix product on one core, float32, by ONNX Runtime."""
    shape = [MATRIX, MATRIX]
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "abc"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product", value[:2], value[2:]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    product = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {name: np.random.default_rng(0).random(shape, np.float32) for name in "ab"}
    return 2e3 * MATRIX**3 / milliseconds(lambda: product.run(None, feed), 5)


def network() -> dict[str, Any]:
    """The network on one core: milliseconds for an image by batch size, its share of the peak, and where they go."""
    alone, rng = session(1), np.random.default_rng(0)
    names = [one.name for one in alone.get_outputs() if one.name != EMBEDDING]
    feeds = {size: {INPUT: rng.integers(0, 256, (size, 224, 224, 1), np.uint8)} for size in BATCHES}
    runs: dict[str, Callable[[], float]] = {
        str(size): lambda size=size, feed=feed: milliseconds(lambda: alone.run(names, feed)) / size
        for size, feed in feeds.items()
    }
    found = in_turn(runs | {"peak": peak}, "network")
    return {
        "operations": operations(),
        "peak_per_s": found.pop("peak"),
        "ms": found,
        "layers_ms": layers(names, feeds[1]),
    }


def layers(names: list[str], feed: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds for one image by kind of layer, as ONNX Runtime's own profile says."""
    watched = session(1, profile=True)
    for _ in range(REPEATS):
        watched.run(names, feed)
    profile = Path(watched.end_profiling())
    events = json.loads(profile.read_text("utf-8"))
    profile.unlink()
    found: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[kind(event["name"], event["args"])] += event["dur"] / 1e3 / REPEATS
    return dict(found.most_common())


def kind(name: str, about: dict[str, Any]) -> str:
    """Tell what a node of the profile is."""
    if about["op_name"] != "Conv":
        return "all that is no convolution"
    shape = next(iter(about["input_type_shape"][1].values()))
    if "lung_cells" in name:
        return "convolutions that find the lungs"
    if shape[1] == 1:
        return "depthwise convolutions and the first one"
    return "pointwise convolutions"


def flat_out(work: Callable[[], object]) -> float:
    """Return how often a second a piece of work is done by one thread a core."""
    end = time.monotonic() + FLAT_OUT_S

    def repeat(_: int) -> int:
        count = 0
        while time.monotonic() < end:
            work()
            count += 1
        return count

    start = time.monotonic()
    with ThreadPoolExecutor(cores()) as pool:
        count = sum(pool.map(repeat, range(cores())))
    return count / (time.monotonic() - start)


def pictures(folder: Path) -> Iterator[str]:
    """Write synthetic radiographs of the first of SIDES as PNG, without end; their names."""
    for number in range(10**9):
        grey = radiograph(np.random.default_rng(number), size=(SIDES[0], SIDES[0]))
        path = folder / f"{number:04}.png"
        Image.fromarray(grey).save(path)
        yield str(path)


def seconds(*command: str) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def parts(side: int) -> dict[str, Callable[[], float]]:
    """Return what tells the pictures a second on all cores: decoding alone, the network alone, all of it."""
    png, predictor = encoded(side)["PNG"], Predictor.load(threads=1)
    grey, alone = decode_image(png, "picture"), session(1)
    feed = {INPUT: np.stack([predictor.artifact.preprocessing(grey)] * AT_ONCE)[..., np.newaxis]}
    names = [one.name for one in alone.get_outputs() if one.name != EMBEDDING]
    return {
        "decoding alone": lambda: flat_out(lambda: decode_image(png, "picture")),
        "network alone": lambda: AT_ONCE * flat_out(lambda: alone.run(names, feed)),
        "decoding, preprocessing and network": lambda: (
            AT_ONCE * flat_out(lambda: predictor.predict_many([decode_image(png, "picture") for _ in range(AT_ONCE)]))
        ),
    }


def folder_of(paths: list[str], folder: Path) -> dict[str, dict[str, float]]:
    """Pictures a second on all cores: the parts, the command, the classic network."""
    model, scored = folder / "classic.keras", iter(range(10**9))
    subprocess.run([PYTHON, str(HERE / "classic_model.py"), str(model)], env=ENVIRONMENT, check=True)

    def classic(kind: str) -> float:
        command = [PYTHON, str(HERE / "classic_batch.py"), kind, str(model), *paths[:100]]
        return float(subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True).stdout)

    def command() -> float:
        out = folder / f"scored-{next(scored)}"
        ours = str(Path(PYTHON).with_name("covidcxr"))
        return len(paths) / seconds(ours, "batch", str(folder / "pictures"), "--out", str(out))

    return in_turn(
        {
            **parts(SIDES[0]),
            "covidcxr batch, its start included": command,
            "classic network, Keras predict": lambda: classic("predict"),
            "classic network, Keras direct call": lambda: classic("call"),
        },
        "folder",
    )


def cold(path: str) -> dict[str, dict[str, float]]:
    """Seconds of a command for one picture, and of the imports that it cannot do without."""
    ours = str(Path(PYTHON).with_name("covidcxr"))
    runs: dict[str, Callable[[], float]] = {
        "covidcxr predict one.png": lambda: seconds(ours, "predict", path),
        "imports alone": lambda: seconds(PYTHON, "-c", "import numpy, PIL, onnxruntime"),
    }
    for run in runs.values():
        run()  # bytecode and files come into the cache
    return in_turn(runs, "cold start")


def main() -> None:
    """Measure and write the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        paths = list(islice(pictures(folder / "pictures"), FILES))
        results = {
            "machine": machine(),
            "versions": {"onnxruntime": ort.__version__, "pillow": Image.__version__},
            "load_before": os.getloadavg()[0],
            "model": Predictor.load().model,
            "side": SIDES[0],
            "files": FILES,
            "cold_s": cold(paths[0]),
            "decoding": decoding(),
            "network": network(),
            "per_s": folder_of(paths, folder),
            "per_s_by_side": {side: in_turn(parts(side), f"{side} pixels") for side in OTHER_SIDES},
        }
    (HERE / "speed.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    subprocess.run([sys.executable, str(HERE.parent / "scripts" / "write_figures.py")], check=True)


if __name__ == "__main__":
    main()
