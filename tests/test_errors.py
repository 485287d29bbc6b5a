import pytest

from covidcxr.errors import MissingExtraError, require_extra


def test_a_missing_extra_says_what_to_install():
    require_extra("train", "json", "csv")
    with pytest.raises(MissingExtraError, match=r"needs no_such_module\. .*pip install 'covidcxr\[train\]'"):
        require_extra("train", "json", "no_such_module")
