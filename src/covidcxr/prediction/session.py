"""Sessions of ONNX Runtime: every network of the package runs in one."""

from pathlib import Path

import onnxruntime as ort

from covidcxr.errors import ArtifactError


def open_session(model: Path | bytes, *, threads: int = 0, name: str | None = None) -> ort.InferenceSession:
    """Load a network to run on the processor.

    Args:
        model: ONNX file, or its content.
        threads: Threads for one run; 0 takes all cores.
        name: Name of the model in messages; needed with ``bytes``.

    Raises:
        ArtifactError: No such file, or not an ONNX model; the message names it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    # Idle threads sleep: a spinning one takes its core from decoding, and from imports while the model loads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # exceptions of onnxruntime have no common base
        named = name or ("bytes" if isinstance(model, bytes) else model)
        raise ArtifactError(f"Expected a model file in ONNX format. Received {named}: {error}") from error
