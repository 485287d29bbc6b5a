"""What every test of the audit works on and returns, and the rule that turns a figure into a verdict."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidcxr.audit.model import Outputs, Subject
from covidcxr.data.manifest import Record, Split
from covidcxr.errors import ManifestError
from covidcxr.evaluation import metrics
from covidcxr.evaluation.metrics import Estimate, FloatArray, IntArray, Metric, estimate
from covidcxr.evaluation.scoring import class_indices
from covidcxr.images.decode import read_image
from covidcxr.images.grey import Grey
from covidcxr.prediction.lungs import LungSegmenter
from covidcxr.prediction.verdict import Finding, Verdict
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts

LIMIT = 400
"""Most test images."""
LIMIT_MAPS = 80
"""Most test images of tests that run the network dozens of times per image."""
LIMIT_TRAIN = 1200
"""Most training images of the thumbnail."""
LONGEST_SIDE = 640
"""Pixels. Larger images are shrunk once, because each is changed in many ways; networks see a third of that."""
RESAMPLES = 1000
SEED = 0
NO_MAP = "the model gives no map"
"""Reason why tests of the map do not apply to some models."""


@dataclass(frozen=True, kw_only=True)
class AuditLimits:
    """The rule of a test.

    Attributes:
        passes: Last figure that passes.
        fails: First figure that fails, on the worse side of ``passes``.
    """

    passes: float
    fails: float

    @property
    def text(self) -> str:
        """The rule in words."""
        word = "most" if self.fails > self.passes else "least"
        return (
            f"Passes with at {word} {self.passes:g}, fails from {self.fails:g} on, warns in between. Also warns if the "
            f"interval of a passing figure reaches {self.fails:g}: there are too few images to be sure."
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
class AuditResult:
    """The outcome of a test.

    Attributes:
        test: Name.
        title: Name for people.
        figure: Definition of the figure.
        rule: Rule of the verdict in words.
        finding: Figure and verdict; None if the model or the data do not allow the test.
        reason: Reason why they do not, else empty.
        n: Number of images.
        picture: PNG file.
        details: Further figures, JSON-ready.
    """

    test: str
    title: str
    figure: str
    rule: str
    finding: Finding | None = None
    reason: str = ""
    n: int = 0
    picture: bytes | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditTest:
    """The description of a test.

    Attributes:
        name: Name, such as ``lungs_erased``.
        title: Name for people.
        figure: Definition of the figure.
        limits: Rule of the verdict.
    """

    name: str
    title: str
    figure: str
    limits: AuditLimits

    def skipped(self, reason: str) -> AuditResult:
        """Return the result of a test that the model or the data do not allow, with the reason."""
        return AuditResult(test=self.name, title=self.title, figure=self.figure, rule=self.limits.text, reason=reason)

    def judged(
        self, found: Estimate, says: str, *, n: int, picture: bytes, details: dict[str, Any] | None = None
    ) -> AuditResult:
        """Return the result of a test.

        Args:
            found: The figure.
            says: The outcome in a sentence that a student understands.
            n: Number of images.
            picture: PNG file.
            details: Further figures, JSON-ready.
        """
        verdict = self.limits.verdict(found)
        return AuditResult(
            test=self.name,
            title=self.title,
            figure=self.figure,
            rule=self.limits.text,
            finding=Finding(
                test=self.name, verdict=verdict, value=found.value, low=found.low, high=found.high, says=says
            ),
            n=n,
            picture=picture,
            details=details or {},
        )


@dataclass(frozen=True)
class AuditSample:
    """Some decoded images.

    Attributes:
        records: The n records.
        greys: Their images, at most LONGEST_SIDE pixels on a side.
        y_true: int64, shape (n,), index into the labels of the model.
        groups: str, shape (n,), patients joined with their near-duplicates.
    """

    records: list[Record]
    greys: list[Grey]
    y_true: IntArray
    groups: NDArray[np.str_]


@dataclass(frozen=True)
class Context:
    """A model and the images of its audit.

    Attributes:
        subject: The model.
        train: Records it was trained on; without a recipe, all of its classes in the training split.
        test: Records its figures are measured on; without a recipe, all of its classes in the test split.
        wide: All records of its classes in the test split, including collections that its recipe leaves out.
        lungs: Finds the lungs.
    """

    subject: Subject
    train: list[Record]
    test: list[Record]
    wide: list[Record]
    lungs: LungSegmenter

    @cached_property
    def sample(self) -> AuditSample:
        """At most LIMIT images of ``test``, stratified by source and label."""
        return _decoded(stratified(self.test, LIMIT), self.subject)

    @cached_property
    def wide_sample(self) -> AuditSample:
        """At most LIMIT images of ``wide``, stratified by source and label."""
        records = stratified(self.wide, LIMIT)
        return self.sample if records == self.sample.records else _decoded(records, self.subject)

    @cached_property
    def outputs(self) -> Outputs:
        """Outputs of the model for ``sample``."""
        return self.subject.outputs(self.sample.greys)

    @cached_property
    def wide_outputs(self) -> Outputs:
        """Outputs of the model for ``wide_sample``."""
        same = self.wide_sample is self.sample
        return self.outputs if same else self.subject.outputs(self.wide_sample.greys)

    @cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """Lung masks of ``sample``, each of the shape of its image."""
        return self.lungs.masks(self.sample.greys)

    @cached_property
    def few(self) -> NDArray[np.int64]:
        """At most LIMIT_MAPS indices into ``sample``, stratified by source and label."""
        chosen = {record.id for record in stratified(self.sample.records, LIMIT_MAPS)}
        return np.array([place for place, record in enumerate(self.sample.records) if record.id in chosen])


Test = Callable[[Context], AuditResult]


def make_context(subject: Subject, records: Sequence[Record]) -> Context:
    """Choose the images of an audit; external records are not used.

    Raises:
        ManifestError: Training or test records lack images with COVID-19, or images without.
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
    """Choose at most ``limit`` records, the same share of every source and label; equal records give equal choices."""
    ordered = sorted(records, key=lambda record: record.id)
    if len(ordered) <= limit:
        return ordered
    strata: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place in np.random.default_rng(SEED).permutation(len(ordered)):
        strata[ordered[place].source, ordered[place].label].append(int(place))
    # each record's place in its stratum, as a share: the smallest shares of all strata are an equal share of each
    shares = sorted(((i + 0.5) / len(s), place) for s in strata.values() for i, place in enumerate(s))
    return [ordered[place] for place in sorted(place for _, place in shares[:limit])]


def measured(metric: Metric, y_true: IntArray, y_score: FloatArray, groups: NDArray[np.str_]) -> Estimate:
    """Return one figure with its interval, by bootstrap over groups."""
    return estimate({"figure": metric}, y_true, y_score, groups, seed=SEED, resamples=RESAMPLES)["figure"]


def mean_of(values: NDArray[Any], groups: NDArray[np.str_]) -> Estimate:
    """Return the mean of one value per image with its interval, by bootstrap over groups."""
    return metrics.mean_of(values, groups, seed=SEED, resamples=RESAMPLES)


def column_auroc(column: int, positive: int, sign: int = 1) -> Metric:
    """Return the metric AUROC of one column of scores for class ``positive``; sign -1 reverses the scores."""
    return lambda y_true, y_score, weights: metrics.area(y_true == positive, sign * y_score[:, column], weights)


def balanced_accuracy(y_true: IntArray, called: IntArray, weights: FloatArray) -> FloatArray:
    """Return the mean over the classes present of the share of right answers."""
    rights = [metrics.share(called == label, y_true == label, weights) for label in np.unique(y_true)]
    mean: FloatArray = np.nanmean(rights, axis=0)
    return mean


def _decoded(records: list[Record], subject: Subject) -> AuditSample:
    greys = [_shrunk(read_image(record.path)) for record in records]
    groups = np.array([record.group for record in records])
    return AuditSample(records, greys, class_indices(records, subject.labels), groups)


def _shrunk(grey: Grey) -> Grey:
    factor = LONGEST_SIDE / max(grey.shape)
    if factor >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
