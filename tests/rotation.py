"""Run one share of the slow tests, for a limited time: `pytest --share 3/8 --minutes 40`.

A hash of its name puts every slow test into one share, so running each share in turn runs every slow test. When the time is
over, the running test stops and the others are skipped. The summary says how many tests ran.

Slow are tests that are marked so, and those that long.txt names: `pytest --long 3` writes it anew, for the tests that it runs, of
those that take longer than three seconds. So the others stay short however many there are.
"""

import argparse
import contextlib
import re
import signal
import time
import zlib
from collections import Counter

import pytest

LONG, LISTED = "tests/long.txt", pytest.StashKey()
OVER = "the time for slow tests is over"


def share_of(nodeid, shares):
    """Return the share, from 1 to `shares`, of the test named `nodeid`. It never depends on the machine or on other tests."""
    return zlib.crc32(nodeid.encode()) % shares + 1


def one_of(text):
    """Read `3/8` as the third of eight shares."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected K/N with K between 1 and N, such as 3/8, but got {text!r}")
    return int(match[1]), int(match[2])


def pytest_addoption(parser):
    group = parser.getgroup("rotation", "a share of the slow tests")
    group.addoption("--share", type=one_of, metavar="K/N", help="run only share K of N of the slow tests")
    group.addoption("--long", type=float, metavar="SECONDS", help=f"write the names of the tests that take longer to {LONG}")
    group.addoption("--minutes", type=float, default=24 * 60, help="with --share: stop after this time (default: a day)")


def pytest_configure(config):
    long = config.rootpath / LONG
    config.stash[LISTED] = set(long.read_text().splitlines()) if long.exists() else set()
    if config.option.share:
        config.pluginmanager.register(Rotation(config), "rotation of slow tests")
    if config.option.long and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Long(long, config.stash[LISTED], config.option.long), "list of long tests")


def pytest_itemcollected(item):
    if item.nodeid in item.config.stash[LISTED]:
        item.add_marker(pytest.mark.slow)


class Long:
    """Lists the tests whose own part, without fixtures that they share, takes longer than some seconds."""

    def __init__(self, file, listed, seconds):
        self.file, self.listed, self.seconds = file, listed, seconds

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("@")[0]  # xdist names the group behind it
        if report.when == "call":
            (self.listed.add if report.duration > self.seconds else self.listed.discard)(name)

    def pytest_sessionfinish(self):
        self.file.write_text("".join(f"{name}\n" for name in sorted(self.listed)))


class Rotation:
    """Selects the tests, watches the time and reports both; in each worker of xdist, and where their results are gathered."""

    def __init__(self, config):
        self.share, self.shares = config.option.share
        self.minutes = config.option.minutes
        self.deadline = getattr(config, "workerinput", {}).get("deadline", time.time() + 60 * self.minutes)
        self.sizes = []
        self.seen, self.waiting = set(), set()

    def pytest_report_header(self):
        return f"slow tests: share {self.share} of {self.shares}, for at most {self.minutes:g} minutes"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["deadline"] = self.deadline

    @pytest.hookimpl(tryfirst=True)  # before xdist appends the group to the name of a test
    def pytest_collection_modifyitems(self, config, items):
        shares = {item: share_of(item.nodeid, self.shares) for item in items if item.get_closest_marker("slow")}
        counts = Counter(shares.values())
        self.sizes = [counts[share] for share in range(1, self.shares + 1)]
        getattr(config, "workeroutput", {})["sizes"] = self.sizes
        config.hook.pytest_deselected(items=[item for item in items if shares.get(item) != self.share])
        items[:] = [item for item in items if shares.get(item) == self.share]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.sizes = getattr(node, "workeroutput", {}).get("sizes", self.sizes)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self):
        with self.until_deadline():
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self):
        with self.until_deadline():
            return (yield)

    @contextlib.contextmanager
    def until_deadline(self):
        """Skip the test that is running when the time is over, and every later one."""
        left = self.deadline - time.time()
        if left <= 0:
            pytest.skip(OVER)
        signal.signal(signal.SIGALRM, lambda *_: pytest.skip(OVER))
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        except Exception:
            if time.time() < self.deadline:
                raise
            pytest.skip(OVER)  # the test made another error of the skip
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report):
        self.seen.add(report.nodeid)
        if report.skipped and OVER in str(report.longrepr):
            self.waiting.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and any(self.sizes):
            session.exitstatus = pytest.ExitCode.OK  # the other shares have tests

    def pytest_terminal_summary(self, terminalreporter):
        ran = len(self.seen) - len(self.waiting)
        late = f"; {len(self.waiting)} did not, because {self.minutes:g} minutes are over" if self.waiting else ""
        terminalreporter.section("slow tests")
        terminalreporter.write_line(f"share {self.share} of {self.shares}: {ran} of {len(self.seen)} tests ran{late}")
        terminalreporter.write_line(f"tests in the shares: {', '.join(map(str, self.sizes))}")
        if not any(self.sizes):
            terminalreporter.write_line("found no slow test in any share: the selection or the marker `slow` is broken", red=True)
        elif not self.sizes[self.share - 1]:
            terminalreporter.write_line("this share is empty: nothing to run", yellow=True)
