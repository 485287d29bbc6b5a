from dataclasses import replace
from pathlib import Path

import pytest

from covidcxr.batch.plan import LARGEST, Plan, make_plan, part_of, parts_done
from covidcxr.batch.storage import names_in
from covidcxr.errors import BatchError
from covidcxr.images.paths import ImagePath


def inputs(count):
    return [ImagePath(path=f"{number}.png") for number in range(count)]


def test_shards_hold_every_input_once_in_order(tmp_path, settings):
    given = [*inputs(300), ImagePath(path="x", error="no"), ImagePath(path="a.tar"), *inputs(5)]
    plan = make_plan(str(tmp_path), settings, iter(given))
    shards = [plan.read(shard) for shard in range(plan.shards)]
    assert [len(shard) for shard in shards] == plan.rows
    assert plan.rows == [*[16] * 8, *[32] * 5, 1, 18]
    assert shards[13] == [ImagePath(path="a.tar")]
    assert [item for shard in shards for item in shard if item.path != "a.tar"] == [
        item for item in given if item.path != "a.tar"
    ]


def test_many_images_make_few_files(tmp_path, settings):
    plan = make_plan(str(tmp_path), settings, iter(inputs(20_000)))
    assert max(plan.rows) == LARGEST
    assert plan.shards < 20_000 / LARGEST + 41


def test_a_plan_stays(tmp_path, settings):
    make_plan(str(tmp_path), settings, inputs(3))
    again = make_plan(str(tmp_path), settings, inputs(9))
    assert again.read(0) == inputs(3)
    assert again.settings == settings == Plan(str(tmp_path)).settings


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("model", "other@1", "other@1"), ("sources", ("a", "b"), "a b"), ("maps", "/maps", "/maps")],
)
def test_another_batch_is_refused(tmp_path, settings, name, value, shown):
    make_plan(str(tmp_path), settings, inputs(3))
    with pytest.raises(BatchError, match=f"the {name} with which .* Received {shown}"):
        make_plan(str(tmp_path), replace(settings, **{name: value}), inputs(3))


def test_no_input_leaves_no_plan(tmp_path, settings):
    with pytest.raises(BatchError, match=r"at least one image\. Received none from pictures"):
        make_plan(str(tmp_path), settings, [])
    assert names_in(str(tmp_path)) == set()


def test_a_part_that_is_there_is_done(tmp_path, settings):
    plan = make_plan(str(tmp_path), settings, inputs(60))
    Path(tmp_path, "rows").mkdir()
    Path(part_of(str(tmp_path), 2)).touch()
    Path(tmp_path, "rows", ".part-000001.12.part").touch()
    assert parts_done(str(tmp_path), plan) == [2]
