import json
import re
from pathlib import Path

import pytest

from covidcxr.prediction.verdict import Audit, Verdict, worst

RECORDED = json.loads((Path(__file__).parents[2] / "docs" / "results" / "audit-default.json").read_text("utf-8"))[
    "audit"
]


def test_sentences_of_the_shipped_model_are_put_better_with_the_same_numbers():
    audit = Audit.from_dict(RECORDED)
    for finding, recorded in zip(audit.findings, RECORDED["findings"], strict=True):
        before, after = (re.findall(r"\d+(?:\.\d+)?", text) for text in (recorded["says"], finding.says))
        assert set(before) <= set(after), finding.test
        assert finding.says != recorded["says"]
        assert not re.search("picture|tells|\\d%", finding.says), finding.says
    assert Audit.from_dict(json.loads(json.dumps({**RECORDED, "findings": [vars(f) for f in audit.findings]}))) == audit


def test_other_sentences_stay_as_they_are():
    says = "A thumbnail does as well."
    finding = {**RECORDED["findings"][0], "says": says}
    assert Audit.from_dict({**RECORDED, "findings": [finding]}).findings[0].says == says


@pytest.mark.parametrize(
    ("verdicts", "expected"), [([], "pass"), (["pass", "fail", "warn"], "fail"), (["warn", "pass"], "warn")]
)
def test_the_worst_verdict_counts(verdicts, expected):
    assert worst([Verdict(verdict) for verdict in verdicts]) is Verdict(expected)
