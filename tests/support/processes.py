"""Programs that tests start and end, and waiting for what they do."""

import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

END_S = 40
"""How long a program may take to end after SIGTERM: longer than gunicorn gives requests in progress."""


def eventually(condition, seconds=60, *, process=None):
    """Wait until a condition holds, and return its value.

    Args:
        condition: Called without arguments until it returns something true.
        seconds: Fail after this time.
        process: Fail as soon as this process ends.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert process is None or process.poll() is None, f"ended with status {process.returncode}"
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
    return value


@contextmanager
def running(command, log, *, ready=None, seconds=60, piped=False, **options):
    """Run a program until the end of the block, then end it with SIGTERM; yields its process.

    Args:
        command: Words, of any type that has a text.
        log: File to which its output is appended; the last lines are part of the message if it does not get ready.
        ready: Condition that holds as soon as the program can be used.
        seconds: Limit for that.
        piped: Copy the output through a pipe, for a program that may not write to files.
        options: For subprocess.Popen.
    """
    with log.open("ab", buffering=0) as file:
        output = subprocess.PIPE if piped else file
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=subprocess.STDOUT, **options)
        copying = threading.Thread(target=_copy, args=(process.stdout, file)) if piped else None
        if copying:
            copying.start()
        try:
            if ready:
                _wait_until_ready(ready, seconds, process, log)
            yield process
        finally:
            _end(process)
            if copying:
                copying.join()
                process.stdout.close()


def _wait_until_ready(ready, seconds, process, log):
    try:
        eventually(ready, seconds, process=process)
    except AssertionError as error:
        raise AssertionError(f"{process.args[0]}: {error}\n{log.read_text('utf-8', 'replace')[-3000:]}") from None


def _end(process):
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _copy(pipe, file):
    while chunk := pipe.read1():
        file.write(chunk)


def children(pid):
    """Return the process numbers of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
