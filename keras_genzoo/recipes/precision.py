"""What `dtype="auto"` chooses: 16 bits where this machine has instructions for them and they were measured to be faster and no
worse, else 32 bits."""

import functools
import json
import math
import statistics
from pathlib import Path

import tensorflow as tf

FILE = Path(__file__).with_name("precision.json")  # made by `scripts/precision_table.py`
FLAGS = "avx512_bf16", "amx_bf16"
CAPABILITY = 8, 0  # of NVIDIA's GPUs, from which their matrix units take bfloat16
HALF, WHOLE = "mixed_bfloat16", "float32"


def automatic(recipe, say=print):
    """The policy of a recipe on this machine.

    Args:
        recipe: str.
        say: callable of a sentence, which tells the choice and its reason. Defaults to `print`.

    Returns:
        "mixed_bfloat16" or "float32".

    Example:

    >>> gz.recipes.automatic_dtype("vae", say=lambda reason: None) in ("float32", "mixed_bfloat16")
    True
    """
    chosen, reason = _on_gpu(tf.config.get_visible_devices("GPU")) or _on_cpu(cpu_flags(), table().get(recipe))
    say(f"{recipe} computes in {chosen}: {reason}.")
    return chosen


def _on_gpu(gpus):
    if not gpus:
        return None
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
    if capability is None or capability < CAPABILITY:
        return WHOLE, "this GPU has no matrix units for bfloat16"
    return HALF, "this GPU has matrix units for bfloat16"


def _on_cpu(flags, measured):
    if not set(FLAGS) & set(flags):
        return WHOLE, "this processor has no instructions for bfloat16"
    if measured is None:
        return WHOLE, "nobody has measured it in bfloat16"
    middle, low, high = measured["times as fast"]
    speed = f"bfloat16 was {middle:.2f} ({low:.2f} to {high:.2f}) times as fast on {measured['cpu']}"
    if low <= 1:
        return WHOLE, speed
    if not as_good(measured[WHOLE], measured[HALF]):
        return WHOLE, f"{speed} and trained worse"
    return HALF, f"{speed} and trained as well"


def as_good(losses, others):
    """Whether the losses of other trainings are no higher than these on average, within twice the standard error."""
    error = math.sqrt(sum(statistics.variance(each) / len(each) for each in (losses, others)))
    return statistics.mean(others) - statistics.mean(losses) <= 2 * error


def table():
    """What was measured, a dict of recipes."""
    return json.loads(FILE.read_text())


@functools.cache
def cpu_flags():
    """The processor's instruction sets, as Linux names them; none elsewhere."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return tuple(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
