"""Numbers that worker processes share: one piece of anonymous memory, no file, so that a full disk does not matter."""

from mmap import mmap

ROW = 4096
"""Numbers that one process may count."""
_ITEM = 8
"""Bytes of a number: float64."""


class Board:
    """A table of float64, made before the workers are forked: each of them writes its own row, all of them read it.

    A row outlives its worker, and the worker that takes its place counts on from there: counters never fall.
    """

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows
        self._values = memoryview(mmap(-1, _ITEM * (1 + rows * ROW))).cast("d")

    @property
    def stopping(self) -> bool:
        """Whether the server was told to end."""
        return self._values[0] != 0

    def stop(self) -> None:
        """Tell all workers that the server is about to end."""
        self._values[0] = 1

    def row(self, number: int) -> "memoryview[float]":
        """Return the numbers of one worker."""
        return self._values[1 + number * ROW : 1 + (number + 1) * ROW]

    def total(self, place: int) -> float:
        """Return the sum over all workers of the number at that place in their rows."""
        return float(sum(self._values[1 + row * ROW + place] for row in range(self.rows)))
