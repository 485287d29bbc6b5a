from dataclasses import replace

import pytest

from covidcxr.data.manifest import Split
from covidcxr.errors import ManifestError
from covidcxr.evaluation.leave_out import PAIRS, Pair, fold
from covidcxr.labels import Label

PAIR = Pair("radiography-covid", "kermany")


@pytest.fixture
def mixed(records):
    """COVID-19 records of three origins; every record's group and patient is its own, until a test says otherwise."""
    origins = ("radiography-covid", "covid-cxnet", "covid-chestxray")
    return [
        replace(record, origin=origins[number // 3 % 3]) if record.label is Label.COVID else record
        for number, record in enumerate(records)
    ]


def parts(records, pair=PAIR):
    chosen = fold(records, pair)
    return [r for r in chosen if r.split is Split.TRAIN], [r for r in chosen if r.split is Split.TEST]


def test_there_are_six_pairs():
    assert len({pair.name for pair in PAIRS}) == 6


def test_the_pair_is_tested_and_neither_source_is_trained_on(mixed):
    train, test = parts(mixed)
    assert {(r.origin, r.label) for r in test} == {("radiography-covid", "covid"), ("kermany", "normal")}
    assert len(test) == sum(
        (r.origin, r.label) in {("radiography-covid", "covid"), ("kermany", "normal")} for r in mixed
    )
    assert not {"radiography-covid", "kermany"} & {r.origin for r in train}
    assert {r.label for r in train} == set(Label)


def test_shared_groups_leave_training(mixed):
    known = next(r for r in mixed if r.origin == "radiography-covid")
    twin = next(r for r in mixed if r.origin == "nih")
    changed = [replace(r, group=known.group) if r is twin else r for r in mixed]
    before, after = (parts(records)[0] for records in (mixed, changed))
    assert {r.id for r in before} - {r.id for r in after} == {twin.id}


def test_external_records_take_no_part(mixed):
    one = next(r for r in mixed if r.origin == "nih")
    changed = [replace(r, split=Split.EXTERNAL) if r is one else r for r in mixed]
    assert one.id not in {r.id for r in fold(changed, PAIR)}


def test_a_patient_under_two_groups_is_refused(mixed):
    known = next(r for r in mixed if r.origin == "radiography-covid")
    changed = [replace(r, patient_id=known.patient_id) if r.origin == "nih" else r for r in mixed]
    with pytest.raises(ManifestError, match="without a common patient_id"):
        fold(changed, PAIR)


def test_a_pair_without_records_is_refused(records):
    with pytest.raises(ManifestError, match="radiography-covid"):
        fold(records, PAIR)
