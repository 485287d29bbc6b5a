"""A Ray cluster of two machines on this one: whatever is killed, every image has one row."""

import subprocess
import sys
import time

import psutil
import pytest

from batch.conftest import many, rows
from batch.test_run import wait_for_parts
from covidcxr.batch.run import BatchOptions, run
from covidcxr.errors import BatchError
from support.ports import free_port

pytestmark = pytest.mark.slow

IMAGES = 1000
STORE_BYTES = 80 * 2**20


@pytest.fixture
def cluster(monkeypatch):
    """Give a cluster whose head has no cores: all actors live on machines that the test adds."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False},
    )
    yield made
    made.shutdown()


def actors(node):
    """Return the processes of a machine that score."""
    (raylet,) = node.all_processes["raylet"]
    children = psutil.Process(raylet.process.pid).children(recursive=True)
    return [child for child in children if "ShardActor" in " ".join(child.cmdline())]


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")
def test_a_killed_command_worker_and_machine_lose_and_double_nothing(cluster, pictures, tmp_path, model_file):
    """One batch: kill -9 of the command early, then, while it goes on, of a worker, and of a machine half way."""
    table, out = many(pictures, tmp_path, IMAGES), tmp_path / "out"
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--model", str(model_file)]
    first = subprocess.Popen([*command, "--ray", cluster.address], stderr=subprocess.DEVNULL)
    wait_for_parts(out, first, 2)
    first.kill()
    first.wait()
    killed = []

    def watch(plan, left, done):
        images = IMAGES - sum(plan.rows[shard] for shard in left)
        for one in done:
            yield one
            images += one.images
            if not killed and (workers := actors(nodes[0])):  # the other machine may be first with a result
                killed.append(workers[0])
                workers[0].kill()
            elif len(killed) == 1 and images >= IMAGES / 2 and (workers := actors(nodes[1])):
                killed.append(workers[0])
                cluster.remove_node(nodes[1], allow_graceful=False)

    options = BatchOptions(sources=(str(table),), out=str(out), model=model_file, ray=cluster.address)
    summary = run(options, watch)
    assert len(killed) == 2
    assert not any(process.is_running() for process in killed)
    assert 0 < summary["run"]["images"] < IMAGES == summary["images"]
    assert [row["path"] for row in rows(out)] == table.read_text().split()[1:]
    assert not list(out.rglob(".*.part*"))


def test_a_head_that_dies_ends_the_command_with_a_message(cluster, pictures, tmp_path, model_file):
    table, out = many(pictures, tmp_path, 20_000), tmp_path / "out"
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    command = [sys.executable, "-m", "covidcxr", "batch", str(table), "--out", str(out), "--model", str(model_file)]
    with subprocess.Popen([*command, "--ray", cluster.address], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for_parts(out, process, 2)
            cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
            said = process.communicate(timeout=300)[1]
        finally:
            process.kill()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "Expected a running Ray cluster. Received " in said
    assert "the same command resumes the batch" in said


def test_no_cluster(pictures, tmp_path, model_file, monkeypatch):
    """What ``ray.init`` says of a missing cluster, here without its minute and a half of trying, is one line."""
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody answers")))
    options = BatchOptions(sources=(str(pictures),), out=str(tmp_path), model=model_file, ray="auto")
    with pytest.raises(
        BatchError, match=r"a running Ray cluster\. Received auto, which cannot be reached: nobody answers"
    ):
        run(options, lambda plan, left, done: done)


def test_an_address_where_nothing_answers_is_told_at_once(pictures, tmp_path, model_file):
    address = f"127.0.0.1:{free_port()}"
    options = BatchOptions(sources=(str(pictures),), out=str(tmp_path), model=model_file, ray=address)
    start = time.monotonic()
    with pytest.raises(BatchError, match=r"a running Ray cluster\. Received 127\.0\.0\.1:\d+, .*refused"):
        run(options, lambda plan, left, done: done)
    assert time.monotonic() - start < 30
