"""The cores of the machine, or a container's share of them."""

import os

import pytest

from covidcxr._system import cores


@pytest.mark.parametrize(
    ("limit", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("9900000 100000", None), ("max 100000", None)]
)
def test_a_containers_share_of_the_cores_counts(limit, expected, tmp_path):
    file = tmp_path / "cpu.max"
    assert cores(file) == len(os.sched_getaffinity(0))
    file.write_text(limit + "\n")
    assert cores(file) == (expected or len(os.sched_getaffinity(0)))
