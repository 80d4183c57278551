"""`make` chooses TensorFlow with CUDA where there is an NVIDIA GPU, and installs again when the choice changes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LISTS_ONE = "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-0000-0000-0000-000000000000)'"
LISTS_TWO = f"{LISTS_ONE}\n{LISTS_ONE.replace('GPU 0', 'GPU 1')}"
NO_DRIVER = (
    "echo \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    'Make sure that the latest NVIDIA driver is installed and running."\nexit 9'
)
NO_GPU = "echo 'No devices found.'"
WITH, WITHOUT = "test,tuning,gpu", "test,tuning"

# Stands for `python3`: makes a virtual environment of the same script, and writes down what it is asked to do.
PYTHON = """#!/bin/sh
echo "$@" >> {log}
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
"""


@pytest.fixture
def commands(tmp_path):
    """A folder that is the whole PATH: what the Makefile calls, and no nvidia-smi."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for name in ("make", "sh", "grep", "cmp", "mkdir", "touch", "cp", "date", "expr"):
        found = shutil.which(name) or pytest.skip(f"this machine has no {name}")
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def make(commands):
    """Run make with these commands; returns what it prints."""

    def make(*arguments, nvidia_smi=None):
        script = commands / "nvidia-smi"
        script.unlink(missing_ok=True)
        if nvidia_smi:
            script.write_text(f"#!/bin/sh\n{nvidia_smi}\n")
            script.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name not in ("EXTRAS", "MAKEFLAGS", "MAKELEVEL")}
        return subprocess.run(
            ["make", *arguments],
            cwd=REPOSITORY,
            env={**environment, "PATH": str(commands)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return make


@pytest.fixture
def install(make, tmp_path):
    """Run `make install` with a python that installs nothing; returns the extras that it was asked for, and the output."""
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(PYTHON.format(log=log))
    python.chmod(0o755)

    def install(*arguments, **keywords):
        log.write_text("")
        output = make("install", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", *arguments, **keywords)
        return [line.partition("--editable .")[2].strip("[]") for line in log.read_text().splitlines() if "pip" in line], output

    return install


@pytest.mark.parametrize(
    ("nvidia_smi", "expected"),
    [
        (LISTS_ONE, f"extras {WITH}: TensorFlow with CUDA (NVIDIA GPUs found: 1)"),
        (LISTS_TWO, f"extras {WITH}: TensorFlow with CUDA (NVIDIA GPUs found: 2)"),
        (NO_DRIVER, f"extras {WITHOUT}: TensorFlow without CUDA (NVIDIA GPUs found: 0)"),
        (NO_GPU, f"extras {WITHOUT}: TensorFlow without CUDA (NVIDIA GPUs found: 0)"),
        (None, f"extras {WITHOUT}: TensorFlow without CUDA (NVIDIA GPUs found: 0)"),
    ],
    ids=["one GPU", "two GPUs", "no driver", "no GPU", "no nvidia-smi"],
)
def test_the_extras_follow_what_nvidia_smi_lists(make, nvidia_smi, expected):
    assert make("extras", nvidia_smi=nvidia_smi).strip() == expected


def test_a_user_can_choose_the_extras(make, install):
    assert make("extras", "EXTRAS=test", nvidia_smi=LISTS_ONE).startswith("extras test: TensorFlow without CUDA")
    assert install("EXTRAS=test", nvidia_smi=LISTS_ONE)[0] == ["test"]


def test_the_installation_says_what_it_chose(install):
    extras, output = install(nvidia_smi=LISTS_ONE)
    assert extras == [WITH]
    assert f"installing with extras {WITH}: TensorFlow with CUDA" in output


def test_the_same_choice_installs_once(install):
    assert install()[0] == [WITHOUT]
    assert install()[0] == install(nvidia_smi=NO_DRIVER)[0] == []


def test_another_choice_installs_again(install):
    assert install()[0] == [WITHOUT]
    assert install(nvidia_smi=LISTS_ONE)[0] == [WITH]
    assert install(nvidia_smi=LISTS_ONE)[0] == []
    assert install(nvidia_smi=NO_DRIVER)[0] == [WITHOUT]


def test_a_busy_machine_can_make_the_benchmark_anyway(make):
    assert "--anyway" not in make("-n", "benchmark") and "--out runs/benchmark --anyway\n" in make(
        "-n", "benchmark", "MORE=--anyway"
    )


def test_the_share_of_slow_tests_is_the_one_of_the_day(make, commands, tmp_path):
    """Eight days in turn call for eight shares, and the ninth for the first of them again."""
    (commands / "date").unlink()
    shares = []
    for day in range(20000, 20009):
        (commands / "date").write_text(f"#!/bin/sh\necho {day * 86400 + 3600}\n")
        (commands / "date").chmod(0o755)
        # -n shows the commands only; -o takes what they need as done.
        command = make("-n", "test-slow", "-o", "install", "-o", "data", "SHARES=8", "MINUTES=7")
        shares.append(command.partition("--share ")[2].split()[0])
        assert "--minutes 7" in command
    assert sorted(shares[:8]) == [f"{share}/8" for share in range(1, 9)]
    assert shares[8] == shares[0]
