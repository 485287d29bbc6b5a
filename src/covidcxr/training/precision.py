"""Arithmetic of a training run: its number format, and whether every run gives the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


@contextmanager
def precision(*, mixed: bool) -> Iterator[None]:
    """Set the number format of the layers that are built inside the context.

    Args:
        mixed: Whether the layers below the head compute in float16 (Micikevicius et al. 2018). Weights, head, loss and
            the exported file stay float32.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compute_exactly() -> None:
    """Make every operation deterministic, on CPUs only.

    On GPUs, TensorFlow would then refuse the gradient of depthwise convolutions, which EfficientNet consists of.
    """
    if not tf.config.list_logical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
