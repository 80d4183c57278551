"""The plan of a recipe: how many steps its budget holds, and what they compute. One for all of its seeds in a folder."""

import time

import psutil

from keras_genzoo.core import devices, flops, runs
from keras_genzoo.core.budgets import seconds_per_execution, segment_length

TOLERANCE = 0.1  # of the budget, by which the seconds of a run may differ
BUSY = 0.1  # share of the cores that other processes may use while a plan is made
PATIENCE = 60.0  # seconds of waiting for them
EARLY = 2  # segments of a recipe's first run after which its pace is looked at


class Missed(Exception):
    """The first run of a recipe would miss its budget at the pace at which it began.

    Attributes:
        plan: dict. The plan made anew by that pace.
    """

    def __init__(self, plan):
        super().__init__(f"a plan of {plan['planned_s']:.1f} s")
        self.plan = plan


class Busy(ValueError):
    """Other processes use the machine, in one sentence."""


def of(plan):
    """The plan, or None where it was made on another processor or for another version of the code."""
    same = plan and plan["cpu"] == devices.cpu_name() and plan["code"] == runs.code()
    return plan if same else None


def make(build, settings, data, seed, environment, say):
    """Time steps of a model that is thrown away, and count what they compute.

    The fit of a prior over codes is part of the budget: as many seconds are kept for it as that of the throwaway model takes.

    Args:
        build: callable without arguments to the compiled model.
        settings: dict. Those of the folder.
        data: `worker.Data`.
        seed: int. Of the order of images.
        environment: dict. Of the run's record.
        say: callable of `stage`.

    Returns:
        dict: `steps`; with a budget also `seconds_per_step`, `prior_s` and `planned_s`, all of it; `step_flops` and, of what can
        sample, `sample_flops` of an image, see `core.flops`; and what it holds for, `device`, `cpu` and `code`.

    Raises:
        ValueError: the fit of the prior alone takes the budget.
    """
    model, budget = build(), settings["budget"]
    train = data.training_batches(seed, model.data_needs)
    each = model.steps_per_execution
    if budget:
        say(stage="timing steps")
        seconds = seconds_per_execution(model, train, budget)
        planned = within(budget, seconds / each, prior_seconds(model, data), each)
    else:
        planned = {"steps": _in_segments(asked_executions(model, settings, data), each)}
    say(stage="counting operations")
    counted = {"step_flops": flops.count(model.train_step, next(iter(train)))}
    if hasattr(model, "fit_prior") and not hasattr(model, "sample"):  # the step has made the prior out of date
        model.fit_prior(data.training_images(settings["batch_size"]), kind="gaussian")
    if hasattr(model, "sample"):
        counted["sample_flops"] = flops.count(model.sample, 1, seed=0)
    known = {name: environment[name] for name in ("device", "cpu", "code")}
    return {**planned, **counted, **known}


def within(budget, seconds_per_step, prior_s, each):
    """The part of a plan that seconds decide.

    Args:
        budget: float. Seconds.
        seconds_per_step: float. Of training.
        prior_s: float. Seconds kept for the fit of a prior.
        each: int. Steps an execution.

    Raises:
        ValueError: the prior takes the budget.
    """
    left = budget - prior_s
    if left <= 0:
        raise ValueError(f"the fit of the prior alone takes {prior_s:.1f} s of a budget of {budget:g} s; give a longer budget.")
    steps = _in_segments(max(1, int(left / (seconds_per_step * each))), each)
    planned_s = steps * seconds_per_step + prior_s
    return {"steps": steps, "seconds_per_step": seconds_per_step, "prior_s": prior_s, "planned_s": planned_s}


def checked(plan, budget, each, seconds_per_step):
    """Raise `Missed` if the first run of a plan would miss the budget by more than the tolerance at this pace."""
    seconds = plan["steps"] * seconds_per_step + plan["prior_s"]
    if abs(seconds / budget - 1) > TOLERANCE:
        raise Missed(plan | within(budget, seconds_per_step, plan["prior_s"], each) | {"tried": True})


def tried(plan, row, budget, each):
    """A plan after its first run, by whose own seconds it is made again if the run has missed the budget.

    Args:
        plan: dict, as `make` gives it.
        row: dict. The row of the run, as far as it is known after training.
        budget: float. Seconds.
        each: int. Steps an execution.
    """
    if row.get("off_budget"):
        plan = plan | within(budget, row["train_s"] / row["steps"], row.get("fit_prior_s", 0.0), each)
    return plan | {"tried": True}


def _in_segments(executions, each):
    length = segment_length(executions)
    return executions // length * length * each


def asked_executions(model, settings, data):
    """How many executions, of `steps_per_execution` steps each, hold the steps or epochs that are asked for."""
    batches = max(1, len(data.train) // images_a_step(model, settings))
    return -(-(settings["steps"] or settings["epochs"] * batches) // model.steps_per_execution)


def prior_seconds(model, data):
    """Seconds that the fit of the prior over codes takes; 0 where there is none."""
    if not hasattr(model, "fit_prior"):
        return 0.0
    started = time.perf_counter()
    model.fit_prior(data.training_images())
    return time.perf_counter() - started


def images_a_step(model, settings):
    """Real images in a training batch, those for further steps of a critic included."""
    return settings["batch_size"] * (1 + model.data_needs.get("further", 0))


def kept(plan, budget, train_s, prior_s):
    """What a run's seconds say of its budget: a dict for its row, empty where no seconds were planned or none are known."""
    if not budget or train_s is None:
        return {}
    actual = train_s + prior_s
    shown = {"planned_s": plan["planned_s"], "actual_s": actual, "prior_share": plan["prior_s"] / budget}
    return {**shown, "off_budget": abs(actual / budget - 1) > TOLERANCE}


def used_by_others(seconds=1.0):
    """How many cores other processes use, and the busiest of them, as "python (process 71)" or None."""
    own = psutil.Process()
    family = {own.pid, *(child.pid for child in own.children(recursive=True))}

    def read():
        found = {}
        for process in psutil.process_iter(["name", "cpu_times"]):
            if process.pid not in family and process.info["cpu_times"]:  # none where one may not look
                found[process.pid] = process.info["name"], process.info["cpu_times"].user + process.info["cpu_times"].system
        return found

    before, started = read(), time.perf_counter()
    time.sleep(seconds)
    after, elapsed = read(), time.perf_counter() - started
    used = {pid: (now - before[pid][1]) / elapsed for pid, (_, now) in after.items() if pid in before}
    busiest = max(used, key=used.get, default=None)
    return sum(used.values()), busiest and f"{after[busiest][0]} (process {busiest})"


def wait_for_rest(say, patience=PATIENCE):
    """Wait until other processes leave the cores alone.

    Args:
        say: callable of a text, told once that it waits.
        patience: float. Seconds of waiting at most. Defaults to 60.

    Raises:
        Busy: they do not.
    """
    ends, waiting = time.monotonic() + patience, False
    while True:
        used, busiest = used_by_others()
        if used <= BUSY * devices.cores():
            return
        told = f"other processes use {used:.1f} of {devices.cores()} cores, most of all {busiest}"
        if time.monotonic() > ends:
            raise Busy(f"{told}, so that seconds cannot be planned; end them, or plan anyway with --anyway (anyway=True).")
        if not waiting:
            say(f"waiting, {told}")
            waiting = True
