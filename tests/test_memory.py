import subprocess
import sys

import pytest

CODE = """
import re, numpy, pathlib
{call}
numpy.ones(40_000_000)
print(int(re.findall(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[0]) // 1000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_stays_in_the_process():
    calls = ("", "from covidcxr.memory import keep_freed_memory; keep_freed_memory()")
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], check=True, capture_output=True).stdout)
        for call in calls
    )
    assert kept > given_back + 250
