import pandas as pd
import pytest

from covidcxr.training import callbacks
from covidcxr.training.callbacks import History


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.csv", tmp_path / "curves.png")


def test_short_epochs_are_drawn_once_at_the_end(history, tmp_path):
    for epoch in range(3):
        history.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5})
        assert len(pd.read_csv(tmp_path / "history.csv")) == epoch + 1
    assert not (tmp_path / "curves.png").exists()
    history.on_train_end()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_long_epoch_is_drawn_when_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "REDRAW", 0)
    History(tmp_path / "history.csv", tmp_path / "curves.png").on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})
    assert (tmp_path / "curves.png").exists()


def test_a_run_without_an_epoch_draws_nothing(history, tmp_path):
    history.on_train_end()
    assert not list(tmp_path.iterdir())
