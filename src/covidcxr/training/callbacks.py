"""Keras callbacks of a run: exact resumption, a check for finite losses, a progress bar, history and curves."""

import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from covidcxr._files import whole
from covidcxr.errors import RecipeError
from covidcxr.training.batches import NumberedBatches

REDRAW = 10
"""Seconds from one drawing of the curves to the next: a drawing takes longer than a short epoch."""


class EpochSeed(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """Make every epoch a function of (seed, epoch, weights), so that a resumed run gives the same network.

    Checkpoints contain weights and optimizer but not the state of dropout's random generators, which is therefore set
    at the start of every epoch.
    """

    def __init__(self, batches: NumberedBatches, seed: int) -> None:
        super().__init__()
        self._batches, self._seed = batches, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        self._batches.epoch = epoch
        generators = [variable for variable in self.model.variables if "seed_generator" in variable.path]
        for place, state in enumerate(generators):
            state.assign([self._seed * 1_000 + place, epoch * 1_000_000])


class FiniteLoss(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """Stop a training with RecipeError as soon as its loss is not finite.

    It does not wait for the end of the epoch, because a resumed run would start from that epoch's checkpoint.
    """

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._out = out

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        loss = (logs or {})["loss"]
        if not np.isfinite(loss):
            raise RecipeError(
                f"Expected a finite loss in {self._out}. Received {loss} in batch {batch + 1} of an epoch."
            )


def check_finite(model: keras.Model, out: Path) -> None:
    """Check the weights of a network before it is saved in a run folder.

    FiniteLoss cannot see them: no loss follows the last step of a training or a computed head.

    Raises:
        RecipeError: A weight is not finite; the message names the folder.
    """
    if not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise RecipeError(f"Expected finite weights in {out}. Received NaN or infinity.")


class Progress(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """Progress bar over all phases; steps done before a stop are included."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._bar = tqdm(total=total, desc="training", unit="step", mininterval=1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        done = epoch * self.params["steps"]
        if done > self._bar.n:  # a resumed run: earlier steps must not count in the estimate of the time left
            self._bar.initial += done - self._bar.n
            self._bar.n = done

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        numbers = {name: f"{value:.3f}" for name, value in (logs or {}).items()}
        self._bar.set_postfix(epoch=epoch + 1, **numbers)

    def close(self) -> None:
        """Finish the bar."""
        self._bar.close()


class History(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """Table of the epochs (CSV), rewritten after every epoch, and its curves (PNG).

    The curves are drawn again after an epoch if REDRAW seconds have passed, and at the end of the training.
    """

    def __init__(self, table: Path, curves: Path) -> None:
        super().__init__()
        self._table, self._curves = table, curves
        self._next = time.monotonic() + REDRAW

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        row = pd.DataFrame([{"epoch": epoch + 1, **(logs or {})}])
        if self._table.exists():
            earlier = pd.read_csv(self._table)
            row = pd.concat([earlier[earlier["epoch"] <= epoch], row])
        with whole(self._table) as partial:
            row.to_csv(partial, index=False)
        if time.monotonic() >= self._next:
            self._plot(row)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        if self._table.exists():
            self._plot(pd.read_csv(self._table))

    def _plot(self, table: pd.DataFrame) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.5), layout="constrained")
        for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for column in (name for name in table.columns if name.endswith(measure)):
                part = "validation" if column.startswith("val_") else "training"
                axes.plot(table["epoch"], table[column], marker="o", label=part)
            axes.set(xlabel="epoch", title=measure)
            axes.legend()
        figure.savefig(self._curves)
        self._next = time.monotonic() + REDRAW
