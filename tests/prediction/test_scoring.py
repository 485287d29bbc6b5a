import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from covidcxr.errors import ImageError
from covidcxr.images.paths import ImagePath
from covidcxr.images.phantom import radiograph
from covidcxr.prediction.scoring import Outcome, decoded, score_files, scored

GREY = radiograph(np.random.default_rng(0), size=(128, 128))


@dataclass(frozen=True, kw_only=True)
class Numbered(Outcome):
    number: int


def test_every_file_has_its_outcome_in_order(predictor, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    image, broken = (ImagePath(path=str(tmp_path / name)) for name in ("a.png", "broken.png"))
    nothing = ImagePath(path="*.png", error="none")
    files = [nothing, image, broken, image, image, nothing]
    outcomes = list(score_files(predictor, files, at_once=2))
    assert [outcome.path for outcome in outcomes] == [file.path for file in files]
    assert [outcome.error is None for outcome in outcomes] == [False, True, False, True, True, False]
    expected = predictor.predict(GREY).to_dict(image.path)
    for outcome in (outcomes[1], outcomes[3], outcomes[4]):
        assert outcome.to_dict()["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        assert (outcome.grey == GREY).all()
        assert min(outcome.decode_ms, outcome.predict_ms) > 0
    assert outcomes[0].to_dict() == {"path": "*.png", "error": "none"}
    assert (outcomes[2].prediction, outcomes[2].grey, outcomes[2].predict_ms) == (None, None, None)


def test_what_a_caller_adds_to_an_outcome_stays(predictor):
    def decode(path):
        if path == "b":
            raise ImageError("no image")
        return GREY

    outcomes = (decoded(Numbered(path=path, number=number), decode) for number, path in enumerate("abc"))
    found = list(scored(predictor, outcomes))
    assert [(outcome.number, outcome.path, outcome.error) for outcome in found] == [
        (0, "a", None),
        (1, "b", "no image"),
        (2, "c", None),
    ]


def test_no_more_images_are_decoded_than_asked_for(predictor):
    taken = []
    source = (taken.append(number) or Outcome(path=str(number), grey=GREY) for number in range(10))
    next(scored(predictor, source, at_once=3))
    assert taken == [0, 1, 2]


def test_images_are_freed_before_the_next_ones_are_decoded(predictor):
    images, most = [], 0

    def decode(_):
        nonlocal most
        grey = GREY.copy()
        images.append(weakref.ref(grey))
        most = max(most, sum(image() is not None for image in images))
        return grey

    files = (Outcome(path=str(number)) for number in range(12))
    for _ in scored(predictor, (decoded(file, decode) for file in files), at_once=4):
        pass
    assert most <= 5  # the consumer has the last one
