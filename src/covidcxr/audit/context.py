"""What every test of the audit works on, what it returns, and the rule by which a figure becomes a verdict."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from covidcxr.audit.model import Outputs, Subject
from covidcxr.data.manifest import Record, Split
from covidcxr.errors import ManifestError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, Metric, estimate
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.prediction.verdict import Finding, Verdict
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts

LIMIT = 400
"""Most test images that are looked at."""
LIMIT_MAPS = 80
"""Most of them for tests that run the network dozens of times an image."""
LIMIT_TRAIN = 1200
"""Most training images of the thumbnail."""
LONGEST_SIDE = 640
"""Pixels. Larger pictures are shrunk once, since each is changed in many ways; networks see a third of that."""
RESAMPLES = 1000
SEED = 0
NO_MAP = "the model gives no map"
"""Why tests of the map do not apply to some models."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A rule of three verdicts.

    Attributes:
        passes: Figure that still passes.
        fails: Figure from which the test fails, on the worse side of ``passes``.
    """

    passes: float
    fails: float

    @property
    def text(self) -> str:
        """The rule in words."""
        word = "most" if self.fails > self.passes else "least"
        return (
            f"Passes with at {word} {self.passes:g}, fails from {self.fails:g} on; a warning between the two, and "
            f"where the interval of a passing figure reaches {self.fails:g}: too few images to be sure."
        )

    def verdict(self, found: Estimate) -> Verdict:
        """Judge a figure."""
        sign = 1 if self.fails > self.passes else -1
        worse_end = found.high if sign > 0 else found.low
        if sign * found.value >= sign * self.fails:
            return Verdict.FAIL
        uncertain = sign * worse_end >= sign * self.fails
        return Verdict.WARN if uncertain or sign * found.value > sign * self.passes else Verdict.PASS


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a test.

    Attributes:
        test: Name.
        title: Name for people.
        figure: What the figure is.
        rule: How it became a verdict.
        finding: None where the model or the data do not allow the test.
        reason: Why not, else empty.
        n: Number of images.
        picture: PNG file.
        details: Further figures, JSON-ready.
    """

    test: str
    title: str
    figure: str = ""
    rule: str = ""
    finding: Finding | None = None
    reason: str = ""
    n: int = 0
    picture: bytes | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """Some images, decoded.

    Attributes:
        records: n of them.
        greys: Their pictures.
        y_true: int64, shape (n,), index into the labels of the model.
        groups: str, shape (n,).
    """

    records: list[Record]
    greys: list[Grey]
    y_true: IntArray
    groups: NDArray[np.str_]


@dataclass(frozen=True)
class Context:
    """A model and the images it is audited on.

    Attributes:
        subject: The model.
        train: Records that it was trained on; for a model of unknown making all of its classes in the training split.
        test: Records that its figures are measured on, likewise.
        wide: All records of its classes in the test split, also of collections that its recipe leaves out.
        lungs: Finds the lungs.
    """

    subject: Subject
    train: list[Record]
    test: list[Record]
    wide: list[Record]
    lungs: LungSegmenter

    @cached_property
    def sample(self) -> Sample:
        """At most LIMIT test images, stratified by source and label."""
        return _decoded(stratified(self.test, LIMIT), self.subject)

    @cached_property
    def wide_sample(self) -> Sample:
        """At most LIMIT images of ``wide``."""
        records = stratified(self.wide, LIMIT)
        return self.sample if records == self.sample.records else _decoded(records, self.subject)

    @cached_property
    def outputs(self) -> Outputs:
        """What the model says of ``sample``."""
        return self.subject.outputs(self.sample.greys)

    @cached_property
    def wide_outputs(self) -> Outputs:
        """What the model says of ``wide_sample``."""
        same = self.wide_sample is self.sample
        return self.outputs if same else self.subject.outputs(self.wide_sample.greys)

    @cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """Where the lungs of ``sample`` are."""
        return self.lungs.masks(self.sample.greys)

    @cached_property
    def few(self) -> NDArray[np.int64]:
        """At most LIMIT_MAPS places in ``sample``, stratified likewise."""
        chosen = {record.id for record in stratified(self.sample.records, LIMIT_MAPS)}
        return np.array([place for place, record in enumerate(self.sample.records) if record.id in chosen])


def make_context(subject: Subject, records: Sequence[Record]) -> Context:
    """Choose the images; those of the external split are in no part.

    Raises:
        ManifestError: No test image of the model's classes, or of one of COVID-19 and the rest.
    """
    wide = [r for r in records if r.split is not Split.EXTERNAL and r.label in subject.labels]
    train, test = ([r for r in wide if r.split is split] for split in (Split.TRAIN, Split.TEST))
    everything = test
    if subject.recipe:
        parts = split_parts(records, parse_recipe(subject.recipe, subject.name))
        train, test = parts.train + parts.validation, parts.test
    covid = subject.labels[subject.covid]
    if not ({r.label == covid for r in test} == {r.label == covid for r in train} == {True, False}):
        raise ManifestError(
            f"Expected images with COVID-19 and others of {', '.join(subject.labels)} in the splits train and test. "
            f"Received a manifest without."
        )
    return Context(subject, train, test, everything, LungSegmenter.load())


def stratified(records: Sequence[Record], limit: int) -> list[Record]:
    """Choose at most ``limit`` records, the same share of every source and label, the same for the same records."""
    ordered = sorted(records, key=lambda record: record.id)
    if len(ordered) <= limit:
        return ordered
    strata: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place in np.random.default_rng(SEED).permutation(len(ordered)):
        strata[ordered[place].source, ordered[place].label].append(int(place))
    # each record's place in its stratum, as a share: the smallest shares of all strata are an equal share of each
    shares = sorted(((i + 0.5) / len(s), place) for s in strata.values() for i, place in enumerate(s))
    return [ordered[place] for place in sorted(place for _, place in shares[:limit])]


def classes(records: Sequence[Record], subject: Subject) -> IntArray:
    """Return each record's index into the labels of the model."""
    return np.array([subject.labels.index(record.label) for record in records], np.int64)


def measured(metric: Metric, y_true: IntArray, y_score: FloatArray, groups: NDArray[np.str_]) -> Estimate:
    """Return one figure with its interval, by bootstrap over groups."""
    found = estimate({"figure": metric}, y_true, y_score, groups, seed=SEED, resamples=RESAMPLES)
    return found["figure"]


def mean_of(values: NDArray[Any], groups: NDArray[np.str_]) -> Estimate:
    """Return the mean of a value of each image with its interval."""
    return metrics.mean_of(values, groups, seed=SEED, resamples=RESAMPLES)


def column_auroc(column: int, positive: int, sign: int = 1) -> Metric:
    """Return the metric of how well a column of scores tells class ``positive`` from the rest; -1 turns it around."""

    def metric(y_true: IntArray, y_score: FloatArray, weight: FloatArray) -> float:
        truth = y_true == positive
        if not (weight[truth].any() and weight[~truth].any()):
            return float("nan")
        return float(roc_auc_score(truth, sign * y_score[:, column], sample_weight=weight))

    return metric


def balanced_accuracy(y_true: IntArray, called: IntArray, weight: FloatArray) -> float:
    """Return the mean over the classes present of the share that is called right."""
    rights = [
        float(np.average(called[y_true == label] == label, weights=weight[y_true == label]))
        for label in np.unique(y_true)
        if weight[y_true == label].any()
    ]
    return float(np.mean(rights))


def finding(test: str, limits: Limits, found: Estimate, says: str) -> Finding:
    """Return a finding judged by its limits."""
    verdict = limits.verdict(found)
    return Finding(test=test, verdict=verdict, value=found.value, low=found.low, high=found.high, says=says)


def _decoded(records: list[Record], subject: Subject) -> Sample:
    greys = [_shrunk(read_image(record.path)) for record in records]
    return Sample(records, greys, classes(records, subject), np.array([record.group for record in records]))


def _shrunk(grey: Grey) -> Grey:
    factor = LONGEST_SIDE / max(grey.shape)
    if factor >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


Test = Callable[[Context], Result]
