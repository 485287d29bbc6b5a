"""Keras callbacks of a run: exact resumption, finite numbers, one progress bar for all phases, history and curves."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from covidcxr.errors import RecipeError
from covidcxr.training.batches import Batches


class EpochSeed(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """Make every epoch a function of (seed, epoch, weights), whether or not the run was stopped before it.

    Checkpoints hold weights and optimizer but not the state of dropout's random generators, so that state is set
    anew when an epoch begins.
    """

    def __init__(self, batches: Batches, *, seed: int, first_epoch: int) -> None:
        super().__init__()
        self._batches, self._seed, self._first = batches, seed, first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: D102
        self._batches.epoch = self._first + epoch
        generators = [variable for variable in self.model.variables if "seed_generator" in variable.path]
        for place, state in enumerate(generators):
            state.assign([self._seed * 1_000 + place, (self._first + epoch) * 1_000_000])


class FiniteLoss(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    """End a training with RecipeError as soon as its loss is no finite number.

    At once, not at the end of the epoch, which would be kept as one to go on from.
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
    """Check the weights of a network that is to be saved in a run folder.

    The loss alone does not tell: the last step of a training, and a computed head, are followed by none.

    Raises:
        RecipeError: A weight is no finite number; the message names the folder.
    """
    if not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise RecipeError(f"Expected finite weights in {out}. Received a network with NaN or infinite ones.")


class Progress:
    """One bar with the time left over all phases, steps done before a stop included."""

    def __init__(self, total: int) -> None:
        self._bar = tqdm(total=total, desc="training", unit="step", mininterval=1)

    def phase(self, first_epoch: int) -> keras.callbacks.Callback:
        """Return the callback of the phase that begins with epoch ``first_epoch``."""
        return _ProgressCallback(self._bar, first_epoch)

    def close(self) -> None:
        """Finish the bar."""
        self._bar.close()


class _ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc] # Keras is not typed
    def __init__(self, bar: Any, first_epoch: int) -> None:  # noqa: ANN401 - tqdm is not typed
        super().__init__()
        self._bar, self._first = bar, first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        done = (self._first + epoch) * self.params["steps"]
        if done > self._bar.n:  # a resumed run: what was done earlier says nothing about the time left
            self._bar.initial += done - self._bar.n
            self._bar.n = done

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        numbers = {name: f"{value:.3f}" for name, value in (logs or {}).items()}
        self._bar.set_postfix(epoch=self._first + epoch + 1, **numbers)


class History:
    """The table of epochs as CSV, and its curves as PNG, written anew after every epoch."""

    def __init__(self, table: Path, curves: Path) -> None:
        self._table, self._curves = table, curves

    def phase(self, first_epoch: int) -> keras.callbacks.Callback:
        """Return the callback of the phase that begins with epoch ``first_epoch``."""
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._append(first_epoch + epoch + 1, logs)
        )

    def _append(self, epoch: int, logs: dict[str, float]) -> None:
        row = pd.DataFrame([{"epoch": epoch, **logs}])
        if self._table.exists():
            earlier = pd.read_csv(self._table)
            row = pd.concat([earlier[earlier["epoch"] < epoch], row])
        partial = self._table.with_suffix(".part")
        row.to_csv(partial, index=False)
        partial.replace(self._table)
        self._plot(row)

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
