"""What a node must survive: being killed, and bytes that are no DICOM. COVIDCXR_DICOM_* make the runs large."""

import logging
import os

import pytest

from support.survival import fuzzed, killed_twice

pytestmark = pytest.mark.slow

IMAGES = int(os.environ.get("COVIDCXR_DICOM_IMAGES", "16"))
ASSOCIATIONS = int(os.environ.get("COVIDCXR_DICOM_ASSOCIATIONS", "4"))
MUTATED = int(os.environ.get("COVIDCXR_DICOM_MUTATED", "120"))

logger = logging.getLogger(__name__)


def test_killed_twice_under_load_it_loses_nothing_and_doubles_nothing(model_file, tmp_path):
    logger.info("%s", killed_twice(tmp_path, model_file, images=IMAGES, associations=ASSOCIATIONS))


def test_bytes_that_are_no_dicom_do_not_end_the_node(model_file, tmp_path):
    logger.info("%s", fuzzed(tmp_path, model_file, messages=MUTATED))
