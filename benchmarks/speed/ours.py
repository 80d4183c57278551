"""Our side, in a process of its own as the peers': `python -m benchmarks.speed.ours`, by the same lines."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parents[2] / "scripts" / "reference_inception.py"


def main():
    asked = json.loads(sys.stdin.readline())
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    work, told = WORKS[asked["work"]](asked)
    work()  # compiles
    print(json.dumps(told), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, file=answers, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers)


def training(asked):
    """`fit` for so many steps, and what a peer needs to do the same: networks, rates, and images."""
    import keras

    import keras_genzoo as gz

    model = gz.build(asked["recipe"], (28, 28, 1), seed=0, **asked["overrides"])
    data = gz.data.load("fashion_mnist_mini", "train", batch_size=asked["batch_size"], **model.data_needs).repeat()
    optimizer = model.optimizer
    told = {name: float(np.asarray(keras.ops.convert_to_numpy(getattr(optimizer, name)))) for name in RATES}
    told |= {name: getattr(model, name) for name in asked["told"]} | {"arrays": asked["arrays"]}
    told |= {
        "networks": store(asked["arrays"], {name: getattr(model, attribute) for name, attribute in asked["networks"].items()})
    }
    told |= {"parameters": model.count_params()}
    return lambda: model.fit(data, steps_per_epoch=asked["steps"], verbose=0), told


RATES = ("learning_rate", "beta_1", "beta_2")


def store(path, networks):
    """Write images, weights, an input and its outputs of each network, and return their descriptions."""
    import keras

    import keras_genzoo as gz
    from benchmarks.speed.described import described

    arrays = {"images": gz.data.as_array(gz.data.load("fashion_mnist_mini", "train", shuffle=False))}
    found, random = {}, np.random.default_rng(0)
    for name, network in networks.items():
        found[name], weights = described(network)
        inputs = random.normal(size=(4, *network.input_shape[1:])).astype(np.float32)
        outputs = keras.tree.flatten(network(inputs, training=False))
        arrays |= {f"{name}:weights:{key}": value for key, value in weights.items()}
        arrays[f"{name}:input"] = first_channels(inputs)
        arrays |= {f"{name}:output:{index}": first_channels(np.asarray(each)) for index, each in enumerate(outputs)}
    np.savez(path, **arrays)
    return found


def first_channels(images):
    return np.moveaxis(images, -1, 1) if images.ndim == 4 else images


def sampling(asked):
    """`sample` of so many images."""
    import keras_genzoo as gz

    model = gz.build(asked["recipe"], (28, 28, 1), seed=0, **asked["overrides"])
    if asked["fitted"]:
        images = gz.data.as_array(gz.data.load("fashion_mnist_mini", "train", shuffle=False))
        model.fit(images[:1000], epochs=1, steps_per_epoch=1, verbose=0)
        if hasattr(model, "fit_prior"):
            model.fit_prior(images[:1000])
    return lambda: model.sample(asked["images"], seed=0, **asked["how"]), {"parameters": model.count_params()}


def loop(asked):
    """So many steps by `fit`, or by a bare loop over `train_step` in a `tf.function`."""
    import tensorflow as tf

    import keras_genzoo as gz

    model = gz.build(asked["recipe"], (28, 28, 1), seed=0)
    data = gz.data.load("fashion_mnist_mini", "train", batch_size=asked["batch_size"], **model.data_needs).repeat()
    model.fit(data, steps_per_epoch=model.steps_per_execution, verbose=0)
    steps = asked["steps"] // model.steps_per_execution * model.steps_per_execution
    if asked["bare"]:
        step = tf.function(model.train_step, jit_compile=model.jit_compile, reduce_retracing=True)

        def work():
            for batch in data.take(steps):
                logs = step(batch)
            next(iter(logs.values())).numpy()  # waits for the device

    else:

        def work():
            model.fit(data, steps_per_epoch=steps, verbose=0)

    return work, {"steps": steps}


def inception(asked):
    import runpy

    from keras_genzoo.metrics import inception
    from keras_genzoo.metrics.features import FeatureExtractor

    script = runpy.run_path(str(SCRIPT))
    model = inception.build()
    inception.set_constants(model, script["constants"](script["SEED"]))
    extract = FeatureExtractor(model, "pool_3", inception.preprocess, batch_size=asked["batch_size"])
    images = np.random.default_rng(0).integers(0, 256, (asked["n"], 32, 32, 3), dtype=np.uint8)
    np.savez(asked["arrays"], images=images)
    return lambda: extract(images), {"arrays": asked["arrays"], "script": str(SCRIPT)}


def features(asked):
    from benchmarks.speed.peers import features

    return features(asked)


def distance(asked):
    from keras_genzoo import metrics
    from keras_genzoo.metrics.frechet import statistics_distance

    pair = features(asked)

    def work():
        sides = [metrics.GaussianStatistics(asked["dim"]), metrics.GaussianStatistics(asked["dim"])]
        for side, rows in zip(sides, pair, strict=True):
            for start in range(0, len(rows), 4096):
                side.update(rows[start : start + 4096])
        return statistics_distance(*sides, "FD")

    return work, {}


def kernel(asked):
    from keras_genzoo import metrics

    pair = features(asked)
    return lambda: metrics.kernel_distance(*pair, subsets=100, subset_size=1000), {}


def neighbours(asked):
    from keras_genzoo import metrics

    pair = features(asked)
    return lambda: (metrics.precision_recall(*pair, k=5), metrics.density_coverage(*pair, k=5)), {}


WORKS = {
    "training": training,
    "sampling": sampling,
    "loop": loop,
    "inception": inception,
    "distance": distance,
    "kernel": kernel,
    "neighbours": neighbours,
}

if __name__ == "__main__":
    main()
