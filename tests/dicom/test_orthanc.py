"""An image arrives at a real Orthanc, its results stand beside it."""

import re
import time
import urllib.request

import pytest

from support.dicom_node import chest, save
from support.orthanc import CONFIGURATION, orthanc_and_node

pytestmark = pytest.mark.slow

IMAGES = 2


def test_results_stand_in_the_study_seconds_after_the_image(model_file, tmp_path):
    with orthanc_and_node(tmp_path, model_file) as (server, _):
        files = [save(chest(number), tmp_path / f"{number}.dcm") for number in range(IMAGES)]
        assert min(map(server.seconds_to_results, files)) < 10
        time.sleep(1)  # what came back is not sent to the node again
        assert server.instances() == 4 * IMAGES
        assert len(server.get("/studies")) == len(server.get("/patients")) == 1
        series = server.get("/series?expand")
        assert {one["MainDicomTags"]["Modality"] for one in series} == {"CR", "SR", "OT", "PR"}
        capture = next(one for one in series if one["MainDicomTags"]["Modality"] == "OT")
        with urllib.request.urlopen(f"{server.url}/instances/{capture['Instances'][0]}/preview") as picture:
            assert picture.read(8) == b"\x89PNG\r\n\x1a\n"
        assert "skipped" not in (tmp_path / "queue.log").read_text()


def test_the_results_stand_in_orthancs_own_explorer(browser, model_file, tmp_path):
    """The page on which a person finds the study lists a series for the image and for each of its results."""
    with orthanc_and_node(tmp_path, model_file) as (server, _):
        server.seconds_to_results(save(chest(0), tmp_path / "0.dcm"))
        (study,) = server.get("/studies")
        page = browser.new_page()
        page.goto(f"{server.url}/app/explorer.html#study?uuid={study}")
        shown = page.locator("#study li")
        for modality in ("CR", "SR", "OT", "PR"):
            shown.filter(has_text=re.compile(rf"Modality:\s*{modality}")).first.wait_for()
        page.close()


def test_the_configuration_holds_no_password_and_listens_to_this_machine_only():
    text = CONFIGURATION.read_text("utf-8")
    assert '"RemoteAccessAllowed": false' in text
    assert "RegisteredUsers" not in text
