from collections import Counter
from dataclasses import replace

import pytest

from covidcxr.data.manifest import Split, View
from covidcxr.data.splits import check_leakage
from covidcxr.errors import ManifestError
from covidcxr.labels import Label
from covidcxr.recipes.recipe import Data, Selection, parse_recipe
from covidcxr.recipes.selection import select, split_parts
from support.small_recipes import small_recipe


def test_limit_takes_the_same_number_of_each_class(records):
    fewer = [record for record in records if record.label is not Label.COVID or int(record.patient_id[1:]) < 30]
    chosen = select(
        fewer, Data(select=(Selection(label="covid"), Selection(label="normal")), limit_per_class=15), seed=0
    )
    assert Counter(record.label for record in chosen) == {Label.COVID: 10, Label.NORMAL: 10}
    assert chosen == [record for record in fewer if record in chosen]


def test_sources_and_views_restrict(records):
    mixed = [replace(record, view=View.AP) if index % 4 == 0 else record for index, record in enumerate(records)]
    chosen = select(mixed, Data(select=(Selection(label="covid", sources=("nih",), views=("AP",)),)), seed=0)
    assert chosen
    assert all(r.label is Label.COVID and r.source == "nih" and r.view is View.AP for r in chosen)


def test_a_class_without_records_is_an_error(records):
    with pytest.raises(ManifestError, match="figure1"):
        select(records, Data(select=(Selection(label="covid", sources=("figure1",)),)), seed=0)


def test_parts_share_nothing_and_external_records_are_in_none(records):
    recipe = parse_recipe(small_recipe(folds=5), "small")
    with_external = [replace(r, split=Split.EXTERNAL) if i < 6 else r for i, r in enumerate(records)]
    parts = split_parts(with_external, recipe)
    check_leakage(parts.train, parts.validation, parts.test)
    used = parts.train + parts.validation + parts.test
    assert parts.validation
    assert {r.split for r in parts.test} == {Split.TEST}
    assert not {r.id for r in with_external[:6]} & {r.id for r in used}


def test_training_hash_notices_a_changed_label_or_group(records):
    recipe = parse_recipe(small_recipe(), "small")
    expected = split_parts(records, recipe).training_hash
    assert split_parts(list(reversed(records)), recipe).training_hash == expected
    for change in ({"group": "other"}, {"label": Label.COVID}):
        changed = [replace(records[0], **change), *records[1:]]
        assert split_parts(changed, recipe).training_hash != expected
