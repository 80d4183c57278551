"""Runs of a benchmark that several processes share out among themselves: by number, and as tasks of Ray."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_genzoo import benchmark
from keras_genzoo.benchmark import cluster, planning, results, running
from keras_genzoo.benchmark.results import Folder, FolderError
from keras_genzoo.core import devices, runs

SETTINGS = {"data": "d", "budget": None, "device": "cpu"}
pytestmark = pytest.mark.xdist_group("cluster")  # one worker, so that the cluster is made once


def a_run(seed=0, recipe="vae"):
    return {"kind": "recipe", "recipe": recipe, "family": "vae", "overrides": {}, "seed": seed}


# By number


def test_runs_have_numbers_and_one_of_them_is_done_alone(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(running, "run_all", lambda folder, jobs, *rest: asked.append(jobs) or [])
    named = {"recipes": "vae,gan", "seeds": 2}
    listed = benchmark.list_runs(**named)
    assert listed == ["controls", "vae, seed 0", "vae, seed 1", "gan, seed 0", "gan, seed 1"]
    for number, name in enumerate(listed, start=1):
        folder = benchmark.run(**named, steps=3, device="cpu", out=tmp_path / "out", only=number)
        assert [running.job_name(job) for job in asked.pop()] == [name]
    assert folder.asked()["gan"] == 2  # all that is wanted, though one was done
    folder.add({**a_run(1), "status": "ok"})
    benchmark.run(**named, steps=3, device="cpu", out=tmp_path / "out", only=3)
    assert asked.pop() == []
    for number, sentence in ((6, "only is 6, but there are 5 runs"), (0, "only is 0, expected a whole number of at least 1")):
        with pytest.raises(ValueError, match=sentence):
            benchmark.run(**named, steps=3, device="cpu", out=tmp_path / "out", only=number)
    with pytest.raises(benchmark.ArgumentError, match="each shares out the runs; give one of them"):
        benchmark.run(**named, steps=3, device="cpu", out=tmp_path / "out", only=1, ray="auto")


def test_the_command_lists_runs_and_does_none(tmp_path):
    from click.testing import CliRunner

    from keras_genzoo.cli.benchmark import main

    command = ["run", "--recipes", "vae", "--seeds", "2", "--set", "vae.width=4", "--out", str(tmp_path / "out"), "--list-runs"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert result.output.splitlines() == ["1 controls", "2 vae (width=4), seed 0", "3 vae (width=4), seed 1"]
    assert not (tmp_path / "out").exists()


def test_no_row_of_many_that_write_at_once_is_lost(tmp_path):
    Folder.create(tmp_path, SETTINGS)

    def write(worker):
        for seed in range(10):
            Folder(tmp_path).add({**a_run(100 * worker + seed), "status": "ok"})
            Folder(tmp_path).add_plan(a_run(recipe=f"r{worker}-{seed}"), {"steps": seed})
            Folder(tmp_path).ask([a_run(seed, f"r{worker}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len({row["seed"] for row in Folder(tmp_path).rows()}) == 40 == len(Folder(tmp_path).plans())
    assert len(Folder(tmp_path).asked()) == 4


def test_one_run_is_done_by_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PATIENCE", 0.1)
    folder = Folder.create(tmp_path, SETTINGS)
    with folder.lock_run(a_run()):
        with pytest.raises(FolderError, match="another process does vae, seed 0; wait for it"):
            running.run_all(Folder(tmp_path), [[a_run()]])
        with folder.lock_run(a_run(1)):
            pass


def test_what_another_process_has_done_in_the_meantime_is_not_done_again(tmp_path, monkeypatch):
    folder, given = Folder.create(tmp_path, SETTINGS), []
    monkeypatch.setattr(running, "run_job", lambda folder, job, *rest: given.append([run["seed"] for run in job]))
    assert running.run_all(folder, []) == []
    folder.add({**a_run(1), "status": "ok"})
    folder.add({**a_run(2), "status": "failed"})
    running.run_all(folder, [[a_run(seed)] for seed in range(3)])
    assert given == [[0], [2]]


def test_the_seeds_of_a_recipe_wait_for_the_plan_of_its_first_run_and_then_run_at_once(tmp_path, monkeypatch):
    Folder.create(tmp_path, SETTINGS | {"budget": 10.0})
    plan = {"steps": 5, "cpu": devices.cpu_name(), "code": runs.code(), "tried": True}
    given, spans = {}, {}

    def run_job(folder, job, *rest):
        (run,), started = job, time.monotonic()
        given[run["seed"]] = run["plan"]
        time.sleep(0.7)
        if run["plan"] is None:
            folder.add_plan(run, plan)
        spans[run["seed"]] = started, time.monotonic()

    monkeypatch.setattr(running, "run_job", run_job)
    assert planning.of(plan) == plan
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: running.run_all(Folder(tmp_path), [[a_run(seed)]], anyway=True), range(3)))
    (first,) = (seed for seed, each in given.items() if each is None)
    others = [span for seed, span in spans.items() if seed != first]
    assert all(given[seed] == plan for seed in range(3) if seed != first)
    assert all(begin >= spans[first][1] - 0.01 for begin, _ in others)
    assert max(begin for begin, _ in others) < min(end for _, end in others)


# Ray


def test_a_run_takes_a_machine_or_a_gpu_with_its_share_of_the_processor():
    def node(**resources):
        return {"Alive": True, "Resources": {"memory": 1.0, **resources}}

    plain, graphic = [node(), node(CPU=8.0), node(CPU=16.0)], [node(CPU=64.0, GPU=4.0), node(CPU=8.0)]
    assert cluster._resources(plain, "auto", None) == {"num_cpus": 8, "num_gpus": 0}
    assert cluster._resources(graphic, "auto", None) == {"num_cpus": 16, "num_gpus": 1}
    assert cluster._resources(graphic, "cpu", None) == {"num_cpus": 8, "num_gpus": 0}
    assert cluster._resources(graphic, "gpu", 3) == {"num_cpus": 3, "num_gpus": 1}
    assert cluster._resources([*plain, {"Alive": False, "Resources": {"CPU": 1.0}}], "cpu", None)["num_cpus"] == 8


def test_without_ray_one_sentence_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"Ray is needed; `pip install 'keras_genzoo\[ray\]'` installs it"):
        cluster.run_all(Folder.create(tmp_path, SETTINGS), [[a_run()]], "auto")


@pytest.fixture(scope="module")
def machines():
    """A cluster on this machine: a head that runs nothing, and two workers of one core each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    workers = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address)
    yield made, workers
    ray.shutdown()
    made.shutdown()


def sleeping(seconds, marks=None):
    """The work of a run that sleeps, and leaves a mark when it begins."""

    def work(path, job, timeout, anyway):
        import tempfile
        import time

        from keras_genzoo.benchmark.results import Folder

        if marks:
            tempfile.mkstemp(prefix=f"{job[0]['seed']}-", dir=marks)
        time.sleep(seconds)
        for run in job:
            Folder(path).add({**run, "status": "ok"})
        return []

    return work


@pytest.mark.slow
def test_two_workers_do_nearly_twice_the_runs_of_one(machines, tmp_path):
    folder = Folder.create(tmp_path / "warm", SETTINGS)
    cluster.run_all(folder, [[a_run(seed)] for seed in range(6)], "auto", work=sleeping(2.0))  # the processes import here
    folder = Folder.create(tmp_path / "runs", SETTINGS)
    started = time.monotonic()
    sleeping(1.0)(folder.path, [a_run(99)], None, False)
    one = time.monotonic() - started
    started = time.monotonic()
    assert cluster.run_all(folder, [[a_run(seed)] for seed in range(20)], "auto", work=sleeping(1.0)) == []
    each = (time.monotonic() - started) / 20
    assert len(folder.rows()) == 21
    assert one / each > 0.9 * 2


@pytest.mark.slow
def test_a_run_whose_process_dies_twice_is_a_failed_row_and_others_go_on(machines, tmp_path):
    def work(path, job, timeout, anyway):
        import os

        from keras_genzoo.benchmark.results import Folder

        if job[0]["seed"] == 1:
            os._exit(1)
        Folder(path).add({**job[0], "status": "ok"})
        return []

    folder = Folder.create(tmp_path, SETTINGS)
    failed = cluster.run_all(folder, [[a_run(seed)] for seed in range(3)], "auto", work=work)
    assert [row["seed"] for row in failed] == [1] and failed[0]["reason"].startswith("its process or machine was lost, twice")
    assert {row["seed"]: row["status"] for row in folder.rows()} == {0: "ok", 1: "failed", 2: "ok"}


@pytest.mark.slow
def test_what_the_work_raises_ends_the_sweep_with_its_own_error(machines, tmp_path):
    def work(path, job, timeout, anyway):
        from keras_genzoo.benchmark.running import Refused

        raise Refused("these images are no images.")

    with pytest.raises(running.Refused, match=r"^these images are no images\.$"):
        cluster.run_all(Folder.create(tmp_path, SETTINGS), [[a_run()]], "auto", work=work)


@pytest.mark.slow
def test_a_benchmark_runs_on_the_cluster(machines, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "images.npz", train_images=images[:60], validation_images=images[60:70], test_images=images[70:])
    about = {"data": tmp_path / "images.npz", "steps": 4, "batch_size": 8, "device": "cpu", "features": "fashion-cnn"}
    overrides = {"dense_autoencoder": {"width": 4, "latent_dim": 2}}
    folder = benchmark.run("dense_autoencoder", seeds=2, overrides=overrides, out=tmp_path / "out", ray="auto", **about)
    assert not folder.failed and not folder.missing(folder.tried)
    models = [folder.files(row) / "model.keras" for row in folder.rows() if row["kind"] == "recipe"]
    assert len(models) == 2 and all(path.exists() for path in models)


@pytest.mark.slow
def test_a_run_of_a_machine_that_is_lost_is_repeated_on_another(machines, tmp_path):
    """Last, since one of the two workers is gone then."""
    made, workers = machines
    marks = tmp_path / "marks"
    marks.mkdir()
    folder = Folder.create(tmp_path / "out", SETTINGS)
    failed, jobs = [], [[a_run(seed)] for seed in range(4)]
    thread = threading.Thread(target=lambda: failed.extend(cluster.run_all(folder, jobs, "auto", work=sleeping(4.0, str(marks)))))
    thread.start()
    while len(list(marks.iterdir())) < 2:
        time.sleep(0.1)
    made.remove_node(workers[0], allow_graceful=False)
    thread.join(timeout=240)
    assert not thread.is_alive() and not failed
    assert {row["seed"]: row["status"] for row in folder.rows()} == dict.fromkeys(range(4), "ok")
    begun = [path.name.partition("-")[0] for path in marks.iterdir()]
    assert len(begun) == 5 and len(set(begun)) == 4
