"""Slow tests run in shares, for a limited time."""

import os
import re
from pathlib import Path

import pytest
import rotation

pytest_plugins = ["pytester"]

SUITE = """
import pytest

def test_quick():
    raise AssertionError("a share runs slow tests only")

@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_slow(number):
    pass

@pytest.mark.slow
@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(4))
def test_grouped(number):
    pass
"""
LONG = """
import time, pytest
pytestmark = pytest.mark.slow

def test_first(request):
    rotation = request.config.pluginmanager.get_plugin("rotation of slow tests")
    if hasattr(request.config, "workerinput"):  # all workers end at one time
        assert rotation.deadline == request.config.workerinput["deadline"]
    assert time.time() < rotation.deadline <= time.time() + 5 * 60
    rotation.deadline = time.time() + 1  # so that the machine's speed does not matter
    {first}

def test_long():
    try:
        time.sleep(60)
    finally:
        {cleanup}

def test_last():
    raise AssertionError("nothing starts when the time is over")
"""


@pytest.fixture(params=["alone", pytest.param("xdist", marks=pytest.mark.slow)])
def run(request, pytester, monkeypatch):
    """Run pytest on a suite, with the plugin, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest('pytest_plugins = ["rotation"]')
    pytester.makeini("[pytest]\nmarkers = slow\n")

    def run(suite, *arguments, workers=2):
        pytester.makepyfile(test_suite=suite)
        xdist = ("-n", str(workers), "--dist", "loadgroup") if request.param == "xdist" else ()
        return pytester.runpytest_subprocess("-v", *xdist, *arguments)

    return run


def passed(result):
    """The names of the tests that passed, without the group that xdist appends to them."""
    lines = [line for line in result.outlines if "PASSED" in line and "::" in line]
    return [re.search(r"::(\w+\[\d+\])", line)[1] for line in lines]


def test_every_slow_test_is_in_exactly_one_share(run):
    results = [run(SUITE, "--share", f"{share}/2") for share in (1, 2)]
    names = [name for result in results for name in passed(result)]
    assert sorted(names) == sorted([f"test_slow[{n}]" for n in range(12)] + [f"test_grouped[{n}]" for n in range(4)])
    sizes = ", ".join(str(len(passed(result))) for result in results)
    for share, result in enumerate(results, 1):
        assert result.ret == 0
        result.stdout.fnmatch_lines([f"slow tests: share {share} of 2, for at most 1440 minutes"])
        count = len(passed(result))
        result.stdout.fnmatch_lines([f"share {share} of 2: {count} of {count} tests ran", f"tests in the shares: {sizes}"])


def test_when_the_time_is_over_the_rest_is_skipped_and_counted(run):
    result = run(LONG.format(first="pass", cleanup="pass"), "--share", "1/1", "--minutes", "5", "-rs", workers=1)
    assert result.ret == 0 and result.duration < 30
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*SKIPPED*the time for slow tests is over"])
    result.stdout.fnmatch_lines(["share 1 of 1: 1 of 3 tests ran; 2 did not, because 5 minutes are over"])


def test_a_failing_test_fails_the_run_though_the_time_is_over(run):
    result = run(LONG.format(first="assert False", cleanup="pass"), "--share", "1/1", "--minutes", "5", workers=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, skipped=2)
    result.stdout.fnmatch_lines(["share 1 of 1: 1 of 3 tests ran; 2 did not, because 5 minutes are over"])


def test_an_error_that_the_end_of_the_time_causes_is_no_failure(run):
    result = run(LONG.format(first="pass", cleanup="raise ValueError"), "--share", "1/1", "--minutes", "5", workers=1)
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=2)


def test_an_empty_share_says_so_and_passes(run):
    suite = "import pytest\n@pytest.mark.slow\ndef test_one():\n    pass\n"
    home = rotation.share_of("test_suite.py::test_one", 2)
    result = run(suite, "--share", f"{3 - home}/2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*0 of 0 tests ran", "this share is empty: nothing to run"])


def test_no_slow_test_in_any_share_is_an_error(run):
    result = run("def test_quick():\n    pass\n", "--share", "1/2")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["found no slow test in any share*"])


@pytest.mark.parametrize("share", ["0/3", "4/3", "3", "a/b"])
def test_a_share_that_does_not_exist_is_refused(share, pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    result = pytester.runpytest_subprocess("-p", "rotation", "--share", share)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*expected K/N with K between 1 and N, such as 3/8, but got '{share}'"])


def test_the_share_of_a_test_is_its_crc32():
    # The check value of CRC-32/ISO-HDLC, for the nine digits: https://reveng.sourceforge.io/crc-catalogue/
    assert rotation.share_of("123456789", 1000) == 0xCBF43926 % 1000 + 1


def test_long_tests_are_listed_and_then_slow(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    pytester.makeconftest('pytest_plugins = ["rotation"]')
    pytester.makeini("[pytest]\nmarkers = slow\n")
    pytester.mkdir("tests").joinpath("test_two.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('seconds', [0, 0.3])\ndef test_nap(seconds):\n    time.sleep(seconds)\n"
    )
    listed = pytester.path / rotation.LONG
    listed.write_text("tests/test_two.py::test_nap[0]\ntests/test_other.py::test_not_run\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "--long", "0.2").assert_outcomes(passed=2)
    assert listed.read_text().split() == ["tests/test_other.py::test_not_run", "tests/test_two.py::test_nap[0.3]"]
    pytester.runpytest_subprocess("-m", "not slow").assert_outcomes(passed=1, deselected=1)


def test_every_long_test_is_there():
    folder = Path(__file__).parent
    for name in (folder.parent / rotation.LONG).read_text().splitlines():
        file, function = name.split("[")[0].split("::")[:2]
        assert f"def {function}(" in (folder.parent / file).read_text(), name
