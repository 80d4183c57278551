"""Seconds to the end of a recipe's first step, in a process of its own: `python -m benchmarks.speed.first RECIPE`."""

import json
import sys
import time


def main(recipe):
    times = [time.perf_counter()]

    def seconds():
        times.append(time.perf_counter())
        return times[-1] - times[-2]

    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    found = {"keras": seconds()}
    import keras_genzoo as gz

    found["import"] = seconds()
    published = "/" in recipe
    model = gz.build(recipe, (32, 32, 3) if published else (28, 28, 1), seed=0)
    found["build"] = seconds()
    name, size = ("emoji32", 8) if published else ("fashion_mnist_mini", 64)
    data = gz.data.load(name, "train", batch_size=size, **model.data_needs).repeat()
    for step in ("first", "second"):
        model.fit(data, steps_per_epoch=model.steps_per_execution, verbose=0)
        found[step] = seconds() / (model.steps_per_execution if step == "second" else 1)
    print(json.dumps(found | {"compiled": bool(model.jit_compile is True)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
