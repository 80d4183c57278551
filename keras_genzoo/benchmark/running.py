"""One run after another, each in a process of its own, so that memory is given back and a crash costs one run."""

import contextlib
import datetime
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

from tqdm import tqdm

from keras_genzoo.benchmark import planning, scores
from keras_genzoo.benchmark.results import label
from keras_genzoo.core import runs

OVERHEAD = 25.0  # seconds beside training, until a finished run shows how many
UNKNOWN = 60.0  # seconds of training where no budget says
COMPARING = "comparing images"  # the stage of a run behind all that is timed


class Refused(ValueError):
    """The data cannot be used, whatever the recipe, in one sentence."""


def run_all(folder, jobs, timeout=None, anyway=False):
    """Run the jobs and store their rows.

    Args:
        folder: `Folder`.
        jobs: list of lists of runs; the runs of a job share a process.
        timeout: float or None. Seconds after which a process is killed.
        anyway: bool. Plan seconds though other processes use the cores. Defaults to False.

    Returns:
        list of the rows that failed.

    Raises:
        Refused: by the first run, if every run would fail alike.
        planning.Busy: seconds are to be planned, and other processes use the cores.
    """
    failed = []
    with Progress(jobs, folder.settings["budget"] or UNKNOWN) as progress, Processes(folder) as processes:

        def store(row):
            folder.add(row)
            if row["status"] == "ok":
                progress.write(summary(row))
            else:
                failed.append(row)
                progress.write(f"{label(row)}, seed {row['seed']}: failed: {row['reason']}", file=sys.stderr)

        for job, following in itertools.zip_longest(jobs, jobs[1:]):
            progress.begin(job)
            with folder.lock_run(job[0]), planned(folder, job[0]) as plan:
                left = folder.missing(job)
                if left != job:  # the others were done by another process in the meantime
                    processes.drop()
                if not left:
                    continue
                if by_clock(folder, job[0]) and not plan and not anyway:
                    planning.wait_for_rest(progress.show)
                run_job(folder, [{**run, "plan": plan} for run in left], progress, store, timeout, processes, following)
    return failed


def by_clock(folder, run):
    """Whether the steps of a run are planned by the clock, in its recipe's first run."""
    return bool(folder.settings["budget"]) and run["kind"] == "recipe"


def settled(folder, run):
    """Whether the plan of a run's recipe is there and was tried, so that its seeds may run at the same time."""
    return bool((planning.of(folder.plans().get(label(run))) or {}).get("tried"))


@contextlib.contextmanager
def planned(folder, run):
    """Give the plan of a run's recipe, or None. Where one is to be made by the clock, others wait until the block ends."""
    with contextlib.ExitStack() as stack:
        if by_clock(folder, run) and not settled(folder, run):
            stack.enter_context(folder.lock_plan(run))
            if settled(folder, run):  # made by another process in the meantime
                stack.close()
        yield planning.of(folder.plans().get(label(run)))


class Processes:
    """The processes of jobs. The next one is started while the models before it are compared, since it imports for seconds.

    Args:
        folder: `Folder`.
    """

    def __init__(self, folder):
        self.folder, self.ready = folder, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def drop(self):
        """End the process that was started for a job and is not taken."""
        if self.ready is not None:
            end(self.ready)
            self.ready = None

    def prepare(self, job):
        """Start the process of a job, or of none, that is not taken yet."""
        if job is not None and self.ready is None:
            self.ready = self._start(job)

    def take(self, job):
        """The process of the job at hand, which waits for its lines."""
        process, self.ready = self.ready or self._start(job), None
        return process

    def _start(self, job):
        log = log_of(self.folder, job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "keras_genzoo.benchmark.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")},
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the other
            )


def log_of(folder, job):
    return folder.files(job[0]).resolve() / "log.txt"


def end(process):
    """Kill a process, unless it has ended, and wait for it."""
    process.kill()
    process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


class Progress:
    """How far the jobs are: a bar on a terminal, and elsewhere a line a stage.

    Args:
        jobs: list of lists of runs.
        budget: float. Seconds that a recipe trains, about.
    """

    def __init__(self, jobs, budget):
        self.jobs, self.budget = jobs, budget
        self.overheads = []  # seconds beside training of the recipes that have ended
        self.ended, self.stage = 0.0, None
        layout = "{desc:<44.44} {percentage:3.0f}% |{bar}| {elapsed} done, {remaining} to go"
        # smoothing=0: the remaining time follows from the whole rate, not from the last stage's.
        self.bar = tqdm(bar_format=layout, smoothing=0, mininterval=0.2, disable=not sys.stderr.isatty())
        self.write = self.bar.write

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()
        self.bar.close()

    def begin(self, job):
        """The next job, after the end of the one before."""
        self._end()
        self.job, self.jobs = job, self.jobs[1:]
        self.began = time.monotonic()
        self.show("starting")

    def _end(self):
        if self.stage is not None:
            lap = time.monotonic() - self.began
            self.ended += lap
            if self.job[0]["kind"] == "recipe":
                self.overheads.append(max(0.0, lap - self.budget))

    def show(self, stage):
        """What is done now."""
        if stage != self.stage and self.bar.disable:
            print(f"{job_name(self.job)}: {stage}", file=sys.stderr, flush=True)
        self.stage = stage
        here = time.monotonic() - self.began
        self.bar.set_description_str(f"{job_name(self.job)}: {stage}", refresh=False)
        self.bar.n = self.ended + here
        self.bar.total = self.ended + max(here, self._seconds(self.job)) + sum(map(self._seconds, self.jobs))
        self.bar.refresh()

    def _seconds(self, job):
        overhead = statistics.mean(self.overheads) if self.overheads else OVERHEAD
        return overhead + self.budget * (job[0]["kind"] == "recipe")


def job_name(job):
    return "controls" if job[0]["kind"] == "control" else f"{label(job[0])}, seed {job[0]['seed']}"


def summary(row):
    name = row["distance_name"]
    told = f"{name} {row['scores'][name]:.3g}" if name else scores.first(row["scores"])
    parts = [f"{label(row)}, seed {row['seed']}:", told]
    if row["kind"] == "recipe":
        parts.append(f"after {row['steps']} steps in {row['train_s'] or 0:.1f} s of training")
        parts.append(f"(compilation {row['compile_s']:.1f} s) on {row['environment']['device']}")
    return " ".join(parts)


def run_job(folder, job, progress, store, timeout, processes, following=None):
    """Let a process do a job; hand a row for each of its runs to `store`, as soon as there is one.

    Args:
        folder, progress, timeout: as in `run_all`.
        job: list of runs, with their plans.
        store: callable of a row.
        processes: `Processes`.
        following: the job after this one, or None.
    """
    process, waiting = processes.take(job), list(job)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    spec = {"settings": folder.settings, "runs": job, "folders": [str(folder.files(run).resolve()) for run in job]}
    spec |= {"known": folder.data(), "command": runs.command_line()}
    spec["imports"] = list(dict.fromkeys(each for run in job for each in run.get("imports", ())))
    log, reasons = log_of(folder, job), []

    def stop():
        reasons.append(f"stopped after {timeout:g} s, the --timeout")
        process.kill()

    alarm = threading.Timer(timeout or 0, stop)
    if timeout:
        alarm.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            # The pipe stays open: its end tells the process that nobody waits for it.
            process.stdin.write(json.dumps(spec) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # killed while writing it
            message = json.loads(line)
            if "row" in message:
                store({**waiting.pop(0), "started": started, "status": "ok", **message["row"]})
                if not waiting:
                    processes.prepare(following)  # nothing is timed any more
            elif "plan" in message:
                folder.add_plan(job[0], message["plan"])
            elif "refused" in message:
                raise Refused(message["refused"])
            elif "failed" in message:
                reasons.append(message["failed"])
            else:
                progress.show(**message)
                if message["stage"] == COMPARING:
                    processes.prepare(following)
        process.wait()
    finally:
        alarm.cancel()
        end(process)
    reason = (reasons or [ending(process.returncode, log)])[0] if process.returncode else None
    for run in waiting:
        store({**run, "started": started, "status": "failed", "reason": reason})
    if reason and not waiting:
        progress.write(f"{job_name(job)}: the scores are stored, but not all files could be written: {reason}", file=sys.stderr)


def ending(code, log):
    """Why a process ended that could not say it itself."""
    if code < 0:
        hint = ", perhaps for lack of memory" if code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with exit code {code}"
