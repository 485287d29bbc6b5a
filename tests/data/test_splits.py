from dataclasses import replace
from pathlib import Path

import pytest

from covidcxr.data.manifest import Record, Split, View
from covidcxr.data.splits import assign_splits, check_leakage, grouped_split
from covidcxr.errors import ManifestError
from covidcxr.labels import Label


def record(number, *, source="kermany", label=Label.NORMAL, group=None, patient=None):
    return Record(
        id=f"{source}/{number:04}",
        path=Path(f"{number}.png"),
        source=source,
        origin=source,
        patient_id=patient or f"{source}:{number}",
        finding="",
        label=label,
        view=View.AP,
        age=None,
        sex="",
        licence="",
        sha256=f"{number:064x}",
        width=1,
        height=1,
        group=group or f"{source}/{number:04}",
        split=Split.TRAIN,
    )


def records():
    """200 children in groups of 4 and 100 adults, a tenth of them ill."""
    children = [
        record(n, label=list(Label)[n // 4 % 2], group=f"g{n // 4}", patient=f"kermany:{n // 4}") for n in range(200)
    ]
    return children + [record(1000 + n, source="nih", label=list(Label)[n % 10 == 0]) for n in range(100)]


def test_a_fifth_is_held_out_stratified_and_no_group_is_cut():
    train, test = grouped_split(records(), seed=0)
    assert len(train) + len(test) == 300
    assert not {r.group for r in train} & {r.group for r in test}
    for source, label, whole in (
        ("kermany", Label.NORMAL, 100),
        ("nih", Label.PNEUMONIA, 10),
        ("nih", Label.NORMAL, 90),
    ):
        held = sum(r.source == source and r.label is label for r in test)
        assert held == pytest.approx(whole / 5, abs=4)


def test_the_seed_decides_and_the_order_does_not():
    first = grouped_split(records(), seed=3)
    assert grouped_split(records()[::-1], seed=3) == first
    assert grouped_split(records(), seed=4) != first


def test_more_folds_hold_out_less():
    _, test = grouped_split(records(), test_share_folds=10, seed=0)
    assert len(test) == pytest.approx(30, abs=6)


def test_too_few_groups_are_an_error():
    with pytest.raises(ManifestError, match=r"at least 5 patients of normal\. Received 1\."):
        grouped_split([record(n, group="one") for n in range(20)], seed=0)
    few = [record(900 + n, label=Label.COVID) for n in range(4)]
    with pytest.raises(ManifestError, match=r"at least 5 patients of covid\. Received 4\."):
        grouped_split([*records(), *few], seed=0)


def test_a_class_from_many_small_collections_is_split_by_class_alone():
    given = [record(n, source=f"s{n}", label=list(Label)[n % 2]) for n in range(20)]
    train, test = grouped_split(given, seed=0)
    assert (len(train), len(test)) == (16, 4)


def test_external_collections_and_what_shares_with_them_are_never_trained_on():
    shared = record(5000, source="nih", group="actualmed/9000")
    given = [*records(), shared, record(9000, source="actualmed"), record(9001, source="actualmed", label=Label.COVID)]
    assigned, drawn_in = assign_splits(given, external_sources=["actualmed"], seed=0)
    splits = {r.id: r.split for r in assigned}
    assert [r.id for r in drawn_in] == [shared.id]
    assert {name for name, split in splits.items() if split is Split.EXTERNAL} == {
        "actualmed/9000",
        "actualmed/9001",
        shared.id,
    }
    assert [r.id for r in assigned] == sorted(splits)
    check_leakage(*([r for r in assigned if r.split is split] for split in Split))


def test_only_external_records_need_no_split():
    assigned, drawn_in = assign_splits([record(1, source="actualmed")], external_sources=["actualmed"], seed=0)
    assert [r.split for r in assigned] == [Split.EXTERNAL]
    assert drawn_in == []


@pytest.mark.parametrize("shared", ["group", "patient_id", "sha256"])
def test_leakage_is_named(shared):
    one, other = record(1), record(2)
    check_leakage([one], [other])
    with pytest.raises(ManifestError, match=f"without a common {shared}"):
        check_leakage([one], [replace(other, **{shared: getattr(one, shared)})])
