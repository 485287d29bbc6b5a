"""Two machines of a Ray cluster on this one, of which one is lost half way."""

import psutil
import pytest

from batch.conftest import many, rows
from covidcxr.batch.run import Options, run
from covidcxr.batch.storage import BatchError

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


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")
def test_a_lost_machine_loses_and_doubles_nothing(cluster, pictures, tmp_path, model_file):
    table, out = many(pictures, tmp_path, IMAGES), tmp_path / "out"
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    lost = []

    def watch(plan, left, done):
        for number, one in enumerate(done, start=1):
            yield one
            if number == len(left) // 3:
                lost.extend(actors(nodes[1]))
                cluster.remove_node(nodes[1], allow_graceful=False)

    options = Options(sources=(str(table),), out=str(out), model=model_file, ray=cluster.address)
    summary = run(options, watch)
    assert lost
    assert summary["images"] == summary["run"]["images"] == IMAGES
    assert [row["path"] for row in rows(out)] == table.read_text().split()[1:]
    assert not list(out.glob(".*.part"))


def test_no_cluster(pictures, tmp_path, model_file, monkeypatch):
    """What ``ray.init`` says of a missing cluster, here without its minute and a half of trying, is one line."""
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody answers")))
    options = Options(sources=(str(pictures),), out=str(tmp_path), model=model_file, ray="127.0.0.1:9")
    with pytest.raises(BatchError, match=r"can be reached\. Received 127\.0\.0\.1:9: nobody answers"):
        run(options, lambda plan, left, done: done)
