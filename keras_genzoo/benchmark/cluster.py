"""Runs of a benchmark on several machines, as tasks of Ray (https://docs.ray.io).

The folder of results, and the images where they are files, lie on a disk that all machines share.
"""

import contextlib
import datetime
import textwrap

from tqdm import tqdm

from keras_genzoo.benchmark import running
from keras_genzoo.benchmark.results import Folder, label

RETRIES = 1  # of a run whose process or machine was lost


def run_here(path, job, timeout, anyway):
    """Do a job on this machine, and return the rows that failed: what a task is."""
    return running.run_all(Folder(path), [job], timeout, anyway)


def run_all(folder, jobs, address, timeout=None, anyway=False, cpus=None, work=run_here):
    """Run the jobs as tasks of a cluster, and store their rows.

    A run takes a machine of its own, or one of its GPUs with a share of the processor, so that seconds compare. Where a budget is
    seconds, the first run of a recipe plans the steps, and its other seeds wait for that. A run whose process or machine is lost
    is repeated once, and then fails.

    Args:
        folder: `Folder`, on a disk that all machines share.
        jobs, timeout, anyway: as in `running.run_all`.
        address: str. "auto", "local" or HOST:PORT, as `ray.init` takes it.
        cpus: int or None. Cores of a run; None is as above. Defaults to None.
        work: callable of the path of the folder, a job, `timeout` and `anyway`, to the rows that failed. Defaults to `run_here`.

    Returns:
        list of the rows that failed.

    Raises:
        ImportError: Ray is missing.
        OSError: there is no such cluster.
        running.Refused, planning.Busy: as in `running.run_all`.
    """
    ray = _ray()
    with _connected(ray, address):
        task = ray.remote(max_retries=RETRIES, **_resources(ray.nodes(), folder.settings["device"], cpus))(work)
        arguments = str(folder.path.resolve()), timeout, anyway
        return _all(ray, folder, jobs, lambda job: task.remote(arguments[0], job, *arguments[1:]))


def _all(ray, folder, jobs, submit):
    """Submit jobs, those that need a plan behind the one that makes it, and wait for them."""
    pending, held, failed = {}, {}, []
    for job in jobs:
        name = label(job[0])
        if name in held:
            held[name].append(job)
            continue
        if running.by_clock(folder, job[0]) and not running.settled(folder, job[0]):
            held[name] = []
        pending[submit(job)] = job
    try:
        with tqdm(total=len(jobs), unit="run") as progress:
            while pending:
                (done,), _ = ray.wait(list(pending), num_returns=1)
                job = pending.pop(done)
                failed += _outcome(ray, folder, done, job)
                pending |= {submit(each): each for each in held.pop(label(job[0]), [])}
                progress.update()
    finally:
        for each in pending:  # of an interrupt, or of data that no run can use
            ray.cancel(each, force=True)
    return failed


def _outcome(ray, folder, task, job):
    """The rows of a job that failed."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:  # raised by the work itself
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = f"its process or machine was lost, twice: {textwrap.shorten(str(error), 300)}"
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows = [{**run, "started": started, "status": "failed", "reason": reason} for run in folder.missing(job)]
    for row in rows:
        folder.add(row)
    return rows


def _resources(nodes, device, cpus):
    """What a task reserves, for `ray.remote`.

    Args:
        nodes: list of dicts, as `ray.nodes` gives them.
        device: str. "cpu" leaves GPUs alone.
        cpus: int or None.
    """
    found = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    graphic = [each for each in found if each.get("GPU") and device != "cpu"]
    shares = [int(each["CPU"] // (each["GPU"] if graphic else 1)) for each in graphic or found]
    return {"num_cpus": cpus or max(1, min(shares, default=1)), "num_gpus": 1 if graphic else 0}


@contextlib.contextmanager
def _connected(ray, address):
    """A connection to a cluster; one that is there already stays."""
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address)
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300)
        raise OSError(f"there is no Ray cluster at {address} ({reason}); start one with `ray start --head`.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray():
    try:
        import ray
    except ImportError as error:
        raise ImportError("to run on a cluster Ray is needed; `pip install 'keras_genzoo[ray]'` installs it.") from error
    return ray
