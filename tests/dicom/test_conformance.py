import importlib.util
import re
from pathlib import Path

from covidcxr.dicom.node.server import STATUSES, TRANSFER_SYNTAXES

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "write_conformance.py"


def script():
    spec = importlib.util.spec_from_file_location("write_conformance", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_current_and_all_there():
    write = script()
    text = write.PAGE.read_text("utf-8")
    assert text == write.filled(text), "run: python scripts/write_conformance.py"
    assert set(re.findall(r"<!-- conformance: ([\w-]+) -->", text)) == set(write.TABLES)
    assert all(str(uid) in text for uid in TRANSFER_SYNTAXES)
    assert all(said in text for said in STATUSES.values())


def test_a_stale_table_would_be_seen():
    write = script()
    text = write.PAGE.read_text("utf-8")
    assert write.filled(text.replace("1.2.840.10008.1.2.4.90", "1.2.3")) == text


def test_documents_name_only_options_that_exist():
    from covidcxr.cli.dicom import command

    options = {name for sub in command.commands.values() for parameter in sub.params for name in parameter.opts}
    for page in ("conformance.md", "dicom.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        lines = [line for line in text.splitlines() if "covidcxr dicom" in line or re.search(r"`--[\w-]+`", line)]
        named = {name for line in lines for name in re.findall(r"(?<![\w-])--[a-z][\w-]+", line)}
        assert named <= options, page
