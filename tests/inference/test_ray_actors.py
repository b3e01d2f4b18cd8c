"""Videos on a Ray cluster of two machines, both of which are this one."""

import threading
import time
from pathlib import Path

import pytest
from ray_video_process import SlowProcess

from tubedet.errors import UserError
from tubedet.inference import ray_actors
from tubedet.inference.ray_actors import process_videos_with_ray
from tubedet.inference.result_folder import ResultFolder, run_with_settings
from tubedet.inference.video_jobs import VideoJob

_ROOT = Path(__file__).parents[2]
JOBS = [VideoJob(f"film{number:02}", f"/data/film{number:02}.mp4") for number in range(8)]


@pytest.fixture(scope="module")
def started_cluster():
    """The machine that keeps the books."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{_ROOT}:{_ROOT / 'tests'}")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        yield cluster
        cluster.shutdown()


@pytest.fixture
def cluster(started_cluster):
    """Two machines of one core besides."""
    while len(started_cluster.worker_nodes) < 2:
        started_cluster.add_node(num_cpus=1)
    return started_cluster


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def run(cluster, path, make_process, jobs=JOBS, **options):
    """Reasons of failures, and why actors were given up."""
    options = {"address": cluster.address, **options}
    with run_with_settings(path, {}, alone=True), ResultFolder(path) as results:
        lost = process_videos_with_ray(jobs, results, make_process, poll_seconds=0.1, **options)
        return {job.name: why for job in jobs if (why := results.failure(job.name))}, lost


def whole_results(path):
    done = {record.parent.name for record in path.glob("*/video.json")}
    for name in done:
        rows = (path / name / "rows.csv").read_text().splitlines()
        assert rows == [f"/data/{name}.mp4 {step}" for step in range(5)]
        assert len(list((path / name).iterdir())) == 2
    return done


def test_a_machine_is_lost_in_the_middle(cluster, tmp_path, notes):
    process = SlowProcess(notes, seconds=0.2, hangs_once=("film03",))

    def lose_a_machine():
        deadline = time.monotonic() + 120
        while not (notes / "machine").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        name = (notes / "machine").read_text()
        (machine,) = (m for m in cluster.worker_nodes if m.node_id == name)
        cluster.remove_node(machine, allow_graceful=False)

    loss = threading.Thread(target=lose_a_machine)
    loss.start()
    failed, _ = run(cluster, tmp_path / "out", process)
    loss.join()
    assert failed == {}
    assert whole_results(tmp_path / "out") == {job.name for job in JOBS}
    # Each was finished once, and the one that the machine had in work begun twice.
    assert [process.count("end", job.name) for job in JOBS] == [1] * len(JOBS)
    assert process.count("begin") == len(JOBS) + 1 and process.count("begin", "film03") == 2

    # A new run, with a new machine, does what was not done, and only that.
    more = [*JOBS, VideoJob("film08", "/data/film08.mp4")]
    failed, lost = run(cluster, tmp_path / "out", process, more, max_actors=1)
    assert (failed, lost) == ({}, [])
    assert process.count("begin") == len(JOBS) + 2 and process.count("begin", "film08") == 1
    assert whole_results(tmp_path / "out") == {job.name for job in more}


def test_videos_and_gpus_that_break(cluster, tmp_path, notes):
    process = SlowProcess(
        notes, seconds=0.1, dies=("film02",), breaks_once=("film01",), unreadable=("film04",)
    )
    failed, lost = run(cluster, tmp_path / "out", process)
    assert lost == []
    assert whole_results(tmp_path / "out") == {f"film0{number}" for number in (0, 1, 3, 5, 6, 7)}
    assert failed.pop("film04") == "/data/film04.mp4: not a single frame"
    reason = "3 actors were lost while they worked on it (its worker process has died)"
    assert failed.pop("film02") == reason
    assert failed == {}
    assert process.count("begin", "film02") == 3 and process.count("begin", "film01") == 2
    assert process.count("begin") == len(JOBS) + 3


def test_machines_that_are_all_broken_fail_nothing(cluster, tmp_path, notes):
    process = SlowProcess(notes, breaks=tuple(job.name for job in JOBS))
    failed, lost = run(cluster, tmp_path / "out", process)
    assert failed == {} and whole_results(tmp_path / "out") == set()
    assert len(lost) == 2 and all("device-side assert triggered" in line for line in lost)
    assert process.count("begin") == 6


def test_what_the_user_did_wrong_is_one_line(cluster, tmp_path, notes):
    with pytest.raises(UserError) as raised:
        run(cluster, tmp_path / "out", SlowProcess(notes, refuses=True))
    assert str(raised.value) == "on that machine: no weights"
    for options, message in (
        ({"max_actors": 3}, "3 CPU processes, but the Ray cluster has 2 cores"),
        ({"use_gpus": True}, "the Ray cluster has no GPU"),
        ({"address": "127.0.0.1:1"}, "no Ray cluster answers at '127.0.0.1:1'"),
    ):
        with pytest.raises(UserError, match=message):
            run(cluster, tmp_path / "out", SlowProcess(notes), **options)


class Machines:
    """What Ray says of a cluster."""

    def __init__(self, *resources, dead=()):
        self._nodes = [{"Alive": True, "Resources": of_one} for of_one in resources]
        self._nodes += [{"Alive": False, "Resources": of_one} for of_one in dead]

    def nodes(self):
        return self._nodes


def test_places():
    gpus = Machines({"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}, {}, dead=({"GPU": 8.0},))
    on_gpu = {"num_gpus": 1, "num_cpus": 1, "device": "cuda"}
    assert ray_actors._places(gpus, None, None) == [on_gpu] * 3
    assert ray_actors._places(gpus, True, 2) == [on_gpu] * 2
    assert ray_actors._places(gpus, True, 9) == [on_gpu] * 3
    assert ray_actors._places(gpus, False, None) == [{"num_cpus": 4, "device": "cpu"}] * 2
    for number, cores in ((3, 4), (4, 2), (5, 2), (6, 2), (7, 1), (12, 1)):
        places = ray_actors._places(gpus, False, number)
        assert places == [{"num_cpus": cores, "device": "cpu"}] * number
    with pytest.raises(UserError, match="13 CPU processes, but the Ray cluster has 12 cores"):
        ray_actors._places(gpus, False, 13)
    with pytest.raises(UserError, match="has 0 cores"):
        ray_actors._places(Machines({}), None, None)


def test_without_ray(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with ResultFolder(tmp_path) as results:
        with pytest.raises(UserError, match=r"pip install 'tubedet\[ray\]'"):
            process_videos_with_ray(JOBS, results, print)
