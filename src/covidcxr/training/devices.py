"""How a run uses the machine it stands on. None of it is part of a recipe: the network and the data stay the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

import keras
import tensorflow as tf


class Devices(StrEnum):
    """Which devices of the machine share the work."""

    ONE = "one"
    ALL = "all"
    """Every visible GPU, or, where there is none, every logical CPU device of TensorFlow (one, unless divided)."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Settings of a run that belong to the machine.

    Attributes:
        mixed_precision: Whether the layers below the head compute in float16 (Micikevicius et al. 2018). Weights, head,
            loss and the exported file stay float32.
        devices: Every device learns from its share of each batch (``tf.distribute.MirroredStrategy``); a batch has as
            many images as the recipe says, on however many devices.
    """

    mixed_precision: bool = False
    devices: Devices = Devices.ONE

    def to_dict(self) -> dict[str, bool | str]:
        """Return the settings for JSON."""
        return asdict(self)

    def names(self) -> list[str]:
        """Return TensorFlow's names of the devices that the settings mean on this machine, at least one."""
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in (found if self.devices is Devices.ALL else found[:1])]

    def strategy(self) -> tf.distribute.Strategy:
        """Return how TensorFlow spreads the work; with one device, the plain strategy."""
        names = self.names()
        return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Give the layers that are built inside the precision of these settings."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16" if self.mixed_precision else "float32")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


def compute_exactly() -> None:
    """Make every operation give the same bits in every run, on CPUs.

    On GPUs TensorFlow then refuses the gradient of a depthwise convolution, which EfficientNet is made of.
    """
    if not tf.config.list_logical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
