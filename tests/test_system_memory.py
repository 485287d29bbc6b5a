import subprocess
import sys

import pytest

CODE = """
import re, numpy, pathlib
{call}
print(int(re.findall(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[0]) // 1000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_stays_in_the_process():
    large = "numpy.ones(40_000_000)"
    calls = (large, "from covidcxr._system import keep_freed_memory; keep_freed_memory()\n" + large)
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], check=True, capture_output=True).stdout)
        for call in calls
    )
    assert kept > given_back + 250


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_what_loading_a_model_freed_is_given_back():
    weights = "blocks = [numpy.ones(50_000) for _ in range(500)]\n    kept, blocks = blocks[-1], []"
    without = f"numpy.ones(4_000_000)\nif True:\n    {weights}"  # one large block freed: glibc keeps the next ones
    rules = "from covidcxr._system import give_back_freed_memory, reuse_freed_blocks\nreuse_freed_blocks()\n"
    with_rule = f"{rules}numpy.ones(4_000_000)\nif True:\n    {weights}\ngive_back_freed_memory()"
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], check=True, capture_output=True).stdout)
        for call in (with_rule, without)
    )
    assert kept > given_back + 100
