"""Processes that work in turns, and what their seconds say."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers.py"


class Side:
    """A process of one side: ours, or a peer's with another Python. Both may use the same `threads` cores.

    Args:
        asked: dict. The work, the number of threads, and what the work needs.
        python: str or None. The peers' Python; None is our side.
    """

    def __init__(self, asked, python=None):
        command = [python, str(PEERS)] if python else [sys.executable, "-m", "benchmarks.speed.ours"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=_on_cores(asked["threads"]), **pipes)
        self.times, self.name = [], asked["work"]
        self._say(json.dumps(asked))
        self.told = json.loads(self._answer())

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}; its messages stand above.")
        return line

    def turn(self):
        self._say("go")
        self.times.append(float(self._answer()))

    def end(self):
        """Peak memory, MB."""
        self.process.stdin.close()
        peak = float(self.process.stdout.readline() or "nan")
        self.process.wait()
        return peak


def _on_cores(count):
    """What binds a new process to the first so many cores: TensorFlow, NumPy and PyTorch take as many threads as that."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[:count]
    return lambda: os.sched_setaffinity(0, cores)


def in_turns(ours, peers, rounds, python):
    """Seconds a side and round, peaks of memory, and what each side tells of itself.

    Args:
        ours: dict. Our work. What its process tells is added to what the peers are asked.
        peers: dict of titles to dicts, the peers' works; with a work of ours where "ours" is true.
        rounds: int.
        python: str or None. The peers' Python; without it there are no peers but ours.

    Returns:
        Three dicts of titles, of which the first is "ours": to lists of seconds, to MB, and to dicts.
    """
    sides = {"ours": Side(ours)}
    try:
        for title, peer in peers.items():
            own = peer.pop("ours", False)
            if own or python:
                sides[title] = Side({**ours, **sides["ours"].told, **peer}, None if own else python)
        for _ in range(rounds):
            for side in sides.values():
                side.turn()
    except BaseException:
        for side in sides.values():
            side.process.kill()
        raise
    peaks = {title: side.end() for title, side in sides.items()}
    return {title: side.times for title, side in sides.items()}, peaks, {title: side.told for title, side in sides.items()}


def ratio(ours, theirs):
    """How many times as fast ours is: the median over rounds, the least and the largest."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return [round(each, 4) for each in (statistics.median(ratios), min(ratios), max(ratios))]


def interval(ours, theirs):
    """The 95 % t interval of the mean ratio of paired rounds, on the log scale."""
    import numpy as np
    import scipy.stats

    logs = np.log(np.array(theirs) / np.array(ours))
    half = scipy.stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return [round(float(np.exp(each)), 4) for each in (logs.mean() - half, logs.mean() + half)]
