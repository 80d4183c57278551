"""Which device TensorFlow computes on, and why it does not see a GPU."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import tensorflow as tf

from keras_genzoo.core import memory

CUDA = "CUDA_VISIBLE_DEVICES"


def check(device):
    """Raise one sentence unless there is such a device.

    Args:
        device: "auto", "cpu", "gpu" or "gpu:NUMBER".

    Raises:
        ValueError: it is none of these, or there is no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", device):
        raise ValueError(f"{device!r} is no device, expected auto, cpu, gpu or gpu:1.")
    if device.startswith("gpu"):
        count = len(tf.config.list_physical_devices("GPU"))
        if not count:
            raise ValueError(f"there is no {device}: {missing_reason()}")
        if int(device[4:] or 0) >= count:
            raise ValueError(f"there is no {device}: TensorFlow sees {count} GPU{'s' * (count > 1)}, numbered from 0.")


def choose(device):
    """Make one GPU visible, or none, and let it take memory as needed, so that peaks mean something.

    Args:
        device: as of `check`; "auto" is the first GPU, or the CPU where there is none.

    Returns:
        What `describe` says then.

    Raises:
        ValueError: as `check` does.
    """
    check(device)
    number = int(device.partition(":")[2] or 0)
    chosen = [] if device == "cpu" else tf.config.list_physical_devices("GPU")[number : number + 1]
    tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, True)
    return describe()


def environment(device):
    """Environment variables by which a process that is started sees this device alone; it then chooses "auto"."""
    if device == "cpu":
        return {CUDA: "-1"}
    if device.startswith("gpu"):
        shown = [each for each in os.environ.get(CUDA, "").split(",") if each]
        number = int(device[4:] or 0)
        return {CUDA: shown[number] if shown else str(number)}
    return {}


def describe():
    """The device in words, as "GPU: NVIDIA H100" or "CPU: AMD EPYC 9V74, 2 cores"."""
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        return f"GPU: {tf.config.experimental.get_device_details(gpus[0]).get('device_name', gpus[0].name)}"
    return f"CPU: {cpu_name()}, {cores()} cores"


def cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_name():
    """The processor's name, as the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def missing_reason():
    """Why TensorFlow sees no GPU, with what to do: a sentence's second half."""
    if os.environ.get(CUDA, "0").strip() in ("", "-1"):
        return f"the environment variable {CUDA}={os.environ[CUDA]} hides it; unset it."
    if not tf.test.is_built_with_cuda():
        return "this TensorFlow is built without CUDA; install keras_genzoo[gpu] on Linux."
    if not driver_sees_gpu():
        return "no NVIDIA driver answers (`nvidia-smi` lists no GPU); install the driver, or use --device cpu."
    return "the driver sees it and TensorFlow finds no CUDA libraries; pip install 'keras_genzoo[gpu]'."


def driver_sees_gpu():
    """Whether `nvidia-smi` is there and lists a GPU."""
    return "GPU 0" in _driver("--list-gpus")


def memory_left():
    """Bytes of memory that the device of this process may still take, of several GPUs the freest; None where it is not known."""
    if not tf.config.get_visible_devices("GPU"):
        return memory.free()
    found = [int(line) for line in _driver("--query-gpu=memory.free", "--format=csv,noheader,nounits").split() if line.isdigit()]
    return max(found) * 2**20 if found else None


def _driver(*arguments):
    """What `nvidia-smi` prints; "" where it is not there or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        found = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout if found.returncode == 0 else ""
