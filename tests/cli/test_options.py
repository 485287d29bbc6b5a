import pytest

from covidcxr.cli.options import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1:2", "", "localhost.example.org", "127.example.org", "10.0.0.1"])
def test_what_others_reach(host):
    assert not is_loopback(host)
