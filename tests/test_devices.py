"""Which device computes, and why TensorFlow sees no GPU."""

import pytest
import tensorflow as tf
from click.testing import CliRunner

from keras_genzoo.cli import main
from keras_genzoo.core import devices

NONE = not tf.config.list_physical_devices("GPU")
without_gpu = pytest.mark.skipif(not NONE, reason="TensorFlow sees a GPU here")


def nvidia_smi(folder, script, monkeypatch):
    """A command of that name, before all others on the path."""
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@without_gpu
@pytest.mark.parametrize(
    ("script", "hidden", "reason"),
    [
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", None, "the driver sees it and TensorFlow finds no CUDA libraries"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", None, "no NVIDIA driver answers"),
        ("echo 'No devices were found'", None, "no NVIDIA driver answers"),
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", "-1", "the environment variable CUDA_VISIBLE_DEVICES=-1 hides it"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_sentence_with_its_reason(script, hidden, reason, tmp_path, monkeypatch):
    nvidia_smi(tmp_path, script, monkeypatch)
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden) if hidden else monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for command in (
        ["train", "vae"],
        ["sample", "x.keras"],
        ["tune", "vae"],
        ["benchmark", "run", "--out", str(tmp_path / "out")],
    ):
        result = CliRunner().invoke(main, [*command, "--device", "gpu"])
        said = " ".join(result.output.split())
        assert result.exit_code == 2 and f"there is no gpu: {reason}" in said, said
    assert not (tmp_path / "out").exists()


@without_gpu
def test_a_tensorflow_without_cuda_is_told_so(monkeypatch):
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.missing_reason().startswith("this TensorFlow is built without CUDA")


def test_a_number_beyond_the_gpus_is_told_how_many_there_are(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one", "two"])
    devices.check("gpu:1")
    with pytest.raises(ValueError, match="there is no gpu:2: TensorFlow sees 2 GPUs, numbered from 0"):
        devices.check("gpu:2")


def test_processes_that_are_started_see_the_device_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    chosen = {device: devices.environment(device) for device in ("auto", "cpu", "gpu", "gpu:2")}
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in chosen.values()] == [None, "-1", "0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert devices.environment("gpu:1") == {"CUDA_VISIBLE_DEVICES": "5"}


@without_gpu
def test_the_device_has_a_name():
    assert devices.choose("cpu") == devices.describe() and devices.describe().startswith("CPU: ")
    assert devices.describe().endswith(" cores")
