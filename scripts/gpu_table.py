"""Write the table of docs/gpu.md: what a training step of each published recipe computes and holds, by count.

python scripts/gpu_table.py
"""

import re
from pathlib import Path

import keras
import numpy as np

import keras_genzoo as gz
from keras_genzoo.core import flops, memory

PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"
SHAPE, BATCH = (32, 32, 3), 128
RATES = {"A100": 312, "H100": 989}  # dense bfloat16 TFLOP/s, by NVIDIA's data sheets
EFFICIENCY = 0.25
REMAT = ("ddpm/cifar10", "edm/cifar10", "glow/cifar10")


def main():
    names = [name for family in gz.recipes.names().values() for name in family if "/" in name]
    lines = []
    for name in names:
        lines.append(row(name))
        print(*lines[-1], flush=True)
        write(lines)


def write(lines):
    """The lines so far, in the page."""
    head = ["recipe", "parameters", "TFLOP a step", "GiB", "GiB with `remat=True`", *(f"ms on an {each}" for each in RATES)]
    table = "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, ["---"] * len(head), *lines))
    PAGE.write_text(re.sub(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", f"{table}\n", PAGE.read_text(), flags=re.S))


def row(name):
    """The cells of a recipe, and nothing kept of it."""
    keras.backend.clear_session()
    model = gz.build(name, SHAPE, seed=0)
    step = of_batch(model, BATCH)
    held = [memory.of_step(model, batches(model, BATCH))]
    if name in REMAT:
        held.append(memory.of_step(again := gz.build(name, SHAPE, seed=0, remat=True), batches(again, BATCH)))
    milliseconds = [f"{1000 * step / (rate * 1e12 * EFFICIENCY):.0f}" for rate in RATES.values()]
    sizes = [f"{each / 2**30:.1f}" for each in held] + ["–"] * (2 - len(held))
    return [f"`{name}`", f"{model.count_params():,}", f"{step / 1e12:.2f}", *sizes, *milliseconds]


def of_batch(model, size):
    """Operations of a step of so many images, of those of two and of four: what an image adds is the same."""
    few, more = (flops.count(model.train_step, next(iter(batches(model, each)))) for each in (2, 4))
    return few + (more - few) / 2 * (size - 2)


def batches(model, size):
    images = np.random.default_rng(0).integers(0, 256, (size * (1 + model.data_needs.get("further", 0)), *SHAPE), dtype=np.uint8)
    return gz.data.load(images, batch_size=size, **model.data_needs)


if __name__ == "__main__":
    main()
