"""The files beside the package agree with it, and the tools that read them can."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def metadata():
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    return parser["metadata"]


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())


def hooks():
    configuration = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    return [hook for repository in configuration["repos"] for hook in repository["hooks"]]


def run_hook(hook, file):
    """Run a hook as pre-commit does: its entry with the names of the files, in the activated environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*shlex.split(hook["entry"]), str(file)], cwd=REPOSITORY, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


def test_the_citation_names_the_version_and_licence_of_the_package(citation, metadata):
    assert [citation[key] for key in ("title", "version", "license")] == [metadata[key] for key in ("name", "version", "license")]


def test_the_citation_has_what_its_format_requires(citation):
    # https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema-guide.md
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert citation["authors"] == [{"name": "The keras_genzoo developers"}]
    assert all(isinstance(citation[key], str) for key in ("cff-version", "message", "title", "version"))


def test_the_changelog_has_the_version_of_the_package(metadata):
    headings = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", metadata["version"]]


def test_pre_commit_runs_the_ruff_of_the_environment():
    assert [hook["entry"].split()[:2] for hook in hooks()] == [["ruff", "check"], ["ruff", "format"]]
    assert {hook["language"] for hook in hooks()} == {"system"}
    assert all({"id", "name"} <= set(hook) for hook in hooks())


@pytest.mark.parametrize(("index", "wrong"), [(0, "import os\n"), (1, "x = {  'a':1 }\n")], ids=["check", "format"])
def test_each_hook_passes_good_code_and_refuses_wrong_code_without_changing_it(index, wrong, tmp_path):
    file = tmp_path / "example.py"
    file.write_text('x = {"a": 1}\n')
    assert run_hook(hooks()[index], file).returncode == 0
    file.write_text(wrong)
    assert run_hook(hooks()[index], file).returncode == 1
    assert file.read_text() == wrong
