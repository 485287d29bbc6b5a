from dataclasses import replace

import numpy as np
import pytest

from covidcxr.audit import changes, data, hidden, maps, regions
from covidcxr.audit.context import AuditLimits, make_context, stratified
from covidcxr.audit.model import Outputs
from covidcxr.data.manifest import Split
from covidcxr.errors import ManifestError
from covidcxr.evaluation.metrics import Estimate
from covidcxr.prediction.verdict import Verdict


def verdict(result):
    assert result.finding is not None, result.reason
    assert result.finding.low <= result.finding.value <= result.finding.high
    assert result.picture.startswith(b"\x89PNG")
    assert result.n > 0
    return result.finding.verdict


def test_both_models_are_right_for_different_reasons(cheated, fair):
    for context in (cheated, fair):
        assert (context.outputs.scores.argmax(axis=1) == context.sample.y_true).all()


def test_the_lungs_erased_tell_the_two_apart(cheated, fair):
    assert verdict(regions.lungs_erased(cheated)) is Verdict.FAIL
    assert verdict(regions.lungs_erased(fair)) is not Verdict.FAIL


def test_the_lungs_alone_are_enough_for_the_honest_model_only(cheated, fair):
    assert verdict(regions.lungs_only(cheated)) is Verdict.FAIL
    assert verdict(regions.lungs_only(fair)) is Verdict.PASS


def test_the_border_alone_is_enough_for_the_shortcut_only(cheated, fair):
    assert verdict(regions.border_only(cheated)) is Verdict.FAIL
    assert verdict(regions.border_only(fair)) is not Verdict.FAIL


def test_the_map_of_the_shortcut_lies_outside_the_lungs(cheated, fair):
    assert verdict(regions.map_in_lungs(cheated)) is Verdict.FAIL
    assert verdict(regions.map_in_lungs(fair)) is Verdict.PASS


def test_a_text_in_the_corner_moves_the_shortcut_only(cheated, fair):
    assert verdict(changes.markers(cheated)) is Verdict.FAIL
    assert verdict(changes.markers(fair)) is Verdict.PASS


def test_a_mirrored_picture_loses_the_corner(cheated):
    result = changes.flip(cheated)
    assert verdict(result) is Verdict.FAIL
    assert result.finding.value == pytest.approx(0.5)  # every picture becomes normal


def test_a_map_of_what_decides_is_faithful_and_a_turned_one_is_not(fair):
    assert verdict(maps.deletion_insertion(fair)) is Verdict.PASS
    turned = replace(fair.subject, predict=lambda greys: _turned(fair.subject.predict(greys)))
    assert verdict(maps.deletion_insertion(replace(fair, subject=turned))) is Verdict.FAIL


def _turned(outputs):
    return replace(outputs, maps=-outputs.maps)


def test_a_map_that_ignores_the_weights_is_insane(fair):
    same = replace(fair.subject, randomise=lambda share: fair.subject)
    assert verdict(maps.map_sanity(replace(fair, subject=same))) is Verdict.FAIL

    def noise(share):
        rng = np.random.default_rng(0)
        return replace(fair.subject, predict=lambda greys: _noisy(fair.subject.predict(greys), rng))

    assert verdict(maps.map_sanity(replace(fair, subject=replace(fair.subject, randomise=noise)))) is Verdict.PASS


def _noisy(outputs, rng):
    return replace(outputs, maps=rng.random(outputs.maps.shape))


def test_tests_that_a_model_does_not_allow_are_not_passed(fair, pictures):
    bare = replace(fair.subject, predict=lambda greys: Outputs(fair.subject.predict(greys).scores))
    context = make_context(bare, pictures)
    for test in (regions.map_in_lungs, maps.deletion_insertion, maps.map_sanity, hidden.source_in_embedding):
        result = test(context)
        assert result.finding is None
        assert result.reason


def test_the_collection_that_decides_is_noticed(shortcut, decided, cheated):
    assert verdict(data.source_oracle(make_context(shortcut, decided))) is Verdict.FAIL
    assert verdict(data.source_oracle(cheated)) is Verdict.PASS


def test_a_thumbnail_sees_the_corner(cheated):
    assert verdict(data.thumbnail(cheated)) is Verdict.FAIL


def test_a_patient_on_both_sides_leaks(shortcut, pictures, cheated):
    assert data.leakage(cheated).finding.verdict is Verdict.PASS
    leaky = [*pictures[:-1], replace(pictures[-1], patient_id=pictures[0].patient_id)]
    assert verdict(data.leakage(make_context(shortcut, leaky))) is Verdict.FAIL


def coded(context, values):
    """Return the context with a model whose score and features are given for each test image."""
    scores = np.column_stack([1 - values, values])
    context = replace(context)
    context.__dict__["wide_outputs"] = Outputs(scores, embedding=values[:, np.newaxis])
    return context


def test_features_that_know_the_collection_are_noticed(fair):
    noise = np.random.default_rng(0).random(len(fair.wide_sample.records))
    source = np.array([record.source == "nih" for record in fair.wide_sample.records])
    assert verdict(hidden.source_in_embedding(coded(fair, 0.5 * source + 0.3 * noise))) is Verdict.FAIL
    assert hidden.source_in_embedding(coded(fair, noise)).finding.value < 0.7


def test_a_score_that_knows_view_or_age_is_noticed(fair):
    noise = np.random.default_rng(0).random(len(fair.wide_sample.records))
    ap = np.array([record.view == "AP" for record in fair.wide_sample.records])
    child = np.array([record.origin == "kermany" for record in fair.wide_sample.records])
    assert verdict(hidden.view_in_score(coded(fair, 0.7 - 0.5 * ap + 0.3 * noise))) is Verdict.FAIL
    assert verdict(hidden.age_in_score(coded(fair, 0.5 * child + 0.3 * noise))) is Verdict.FAIL
    assert hidden.age_in_score(coded(fair, noise)).finding.value < 0.8


@pytest.mark.parametrize(
    ("value", "high", "expected"),
    [(0.5, 0.6, Verdict.PASS), (0.5, 0.9, Verdict.WARN), (0.7, 0.75, Verdict.WARN), (0.8, 0.9, Verdict.FAIL)],
)
def test_the_rule(value, high, expected):
    assert AuditLimits(passes=0.65, fails=0.8).verdict(Estimate(value, value, high)) is expected
    turned = Estimate(1 - value, 1 - high, 1 - value)
    assert AuditLimits(passes=0.35, fails=0.2).verdict(turned) is expected


def test_a_sample_is_stratified_and_the_same_in_any_order(pictures):
    chosen = stratified(pictures, 20)
    assert chosen == stratified(pictures[::-1], 20)
    assert {(r.source, r.label): 0 for r in chosen} == {(r.source, r.label): 0 for r in pictures}
    assert sum(r.source == "nih" for r in chosen) == 10


def test_external_images_take_no_part(shortcut, pictures):
    with pytest.raises(ManifestError, match="splits train and test"):
        make_context(shortcut, [replace(r, split=Split.EXTERNAL) if r.split == "test" else r for r in pictures])
    external = [replace(r, split=Split.EXTERNAL) if r.id.endswith("1") else r for r in pictures]
    context = make_context(shortcut, external)
    assert "external" not in {r.split for r in (*context.train, *context.test, *context.wide)}
