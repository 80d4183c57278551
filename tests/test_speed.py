"""The table of speed, through its command; no figure of it is looked at."""

import json

import pytest
from click.testing import CliRunner

import keras_genzoo as gz
from benchmarks.speed import rows
from benchmarks.speed.__main__ import main
from benchmarks.speed.described import described

pytestmark = pytest.mark.xdist_group("speed")
ROW, RATIO = "loop/dense_autoencoder", "speed of fit over a bare loop"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_row_is_measured_once_stored_and_compared(tmp_path):
    out = tmp_path / "speed"
    asked = ["--only", ROW, "--rounds", 2, "--steps", 10, "--threads", 1, "--out", out]
    result = invoke(*asked)
    assert result.exit_code == 0, result.output
    stored = json.loads(out.with_suffix(".json").read_text())
    assert list(stored) == [ROW] and stored[ROW]["rounds"] == 2
    middle, low, high = stored[ROW]["columns"][RATIO]
    assert 0 < low <= middle <= high
    shown = out.with_suffix(".md").read_text()
    assert f"{middle:.2f} ({low:.2f} to {high:.2f})" in shown and "2 rounds in turns, medians and ranges; shortened." in shown
    assert f"{ROW}: `dense_autoencoder` (measured)" in invoke("--list", "--only", "loop/*", "--out", out).output
    assert invoke(*asked).output == ""  # what is there is not measured again
    same = invoke(*asked, "--compare", out.with_suffix(".json"))
    assert same.exit_code == 0 and "no ratio fell" in same.output
    before = {ROW: {"columns": {RATIO: [3 * high, 2 * high, 4 * high]}}}
    (tmp_path / "before.json").write_text(json.dumps(before))
    fell = invoke(*asked, "--compare", tmp_path / "before.json")
    assert fell.exit_code == 1 and f"{ROW}, {RATIO}: {middle:.2f}" in fell.output


def test_a_row_that_fails_is_named_and_the_others_are_measured(tmp_path, monkeypatch):
    def fails(settings):
        raise RuntimeError("the peer ended")

    def two():
        """Two rows."""
        yield rows.Row("loop/broken", "broken", fails)
        yield rows.Row("loop/whole", "whole", lambda settings: {"s": 1.5})

    monkeypatch.setitem(rows.TABLES, "loop", two)
    result = invoke("--only", "loop/*", "--out", tmp_path / "speed")
    assert result.exit_code == 1 and "loop/broken: the peer ended" in result.output
    assert list(json.loads((tmp_path / "speed.json").read_text())) == ["loop/whole"]


def test_names_that_no_row_has_are_refused(tmp_path):
    result = invoke("--only", "training/nothing", "--out", tmp_path / "speed")
    assert result.exit_code == 2 and "'training/nothing', which no row is named" in result.output


@pytest.mark.parametrize("row", [row for row in rows.trainings() if row.measure.keywords["networks"]], ids=lambda row: row.name)
def test_networks_are_described_for_pytorch(row):
    told = row.measure.keywords
    model = gz.build(told["recipe"], (28, 28, 1), seed=0, **told["overrides"])
    for name in told["networks"].values():
        network = getattr(model, name)
        found, arrays = described(network)
        assert sum(each.size for each in arrays.values()) == network.count_params()
        assert [each["name"] for each in found["operations"]] == [layer.name for layer in network.operations]
