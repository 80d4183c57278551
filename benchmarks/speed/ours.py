"""Our side, in a process of its own as the peers': `python -m benchmarks.speed.ours`, by the same lines."""

import functools
import math
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.answering import Seconds, serve

SCRIPT = Path(__file__).parents[2] / "scripts" / "reference_inception.py"


def training(asked):
    """`fit` for so many steps, and what a peer needs to do the same: networks, rates, and images."""
    import keras

    import keras_genzoo as gz

    model = PARTS[asked["parts"]](asked) if "parts" in asked else gz.build(asked["recipe"], SHAPE, seed=0, **asked["overrides"])
    data = gz.data.load("fashion_mnist_mini", "train", batch_size=asked["batch_size"], **model.data_needs).repeat()
    optimizers = [each for each in (getattr(model, name) for name in model.optimizers) if each is not None]
    rates = [{name: float(keras.ops.convert_to_numpy(getattr(each, name))) for name in RATES} for each in optimizers]
    if any(each != rates[0] for each in rates):
        raise ValueError(f"the optimizers of {asked['recipe']} are {rates}, expected equal ones, as the peers have.")
    told = rates[0] | {name: getattr(model, name) for name in asked["told"]}
    told |= {"parameters": trained(model), "gflop": gflop(model, data), "matmul": matrix_product()}
    networks = {name: getattr(model, each) for name, each in asked["networks"].items()}
    for name in {"decoder", "generator"} & set(networks):
        told["latent_dim"] = networks[name].input_shape[-1]
    told["networks"] = store(asked["arrays"], networks)
    told["steps"] = -(-asked["steps"] // model.steps_per_execution) * model.steps_per_execution
    return second_epoch(model, data, told["steps"]), told


def second_epoch(model, data, steps):
    """A work that fits two epochs and tells the seconds of the second: a peer's loop, too, does not begin anew each time."""
    import keras

    class Last(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.began

    def work():
        last = Last()
        model.fit(data, steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[last])
        return Seconds(last.seconds)

    return work


SHAPE = 28, 28, 1
RATES = ("learning_rate", "beta_1", "beta_2")


def trained(model):
    """How many numbers of a model are trained."""
    return sum(math.prod(each.shape) for each in model.trainable_variables)


def spline_coupling(asked):
    """Couplings of vectors by splines, with the networks of zuko's."""
    import keras

    import keras_genzoo as gz

    count = math.prod(SHAPE)
    chain = [gz.bijectors.Logit(0.05), gz.bijectors.Flatten(SHAPE)]
    chain.append(gz.bijectors.Permutation([*range(0, count, 2), *range(1, count, 2)]))
    for index in range(asked["couplings"]):
        spline = gz.bijectors.Spline(asked["bins"], 5.0)
        network = gz.networks.dense_coupling(count // 2, count // 2 * spline.parameters, asked["width"], asked["depth"])
        chain.append(gz.bijectors.Coupling(network, spline, flip=index % 2 == 1))
    model = gz.models.Flow(chain, SHAPE, seed=0)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=asked["jit_compile"])
    return model


PARTS = {"spline_coupling": spline_coupling}


def gflop(model, data):
    """Operations of a step in 1e9, by count."""
    from keras_genzoo.core import flops

    model.fit(data, steps_per_epoch=model.steps_per_execution, verbose=0)  # prepares the model
    return round(flops.count(model.train_step, next(iter(data))) / 1e9, 3)


def matrix_product(n=2048, rounds=5):
    """GFLOP/s of TensorFlow's product of two matrices: the most that a step can reach."""
    import tensorflow as tf

    x = tf.random.normal((n, n))
    return _gflop_per_s(2 * n**3, lambda: x @ x, rounds)


def convolution(images, channels, rounds=20):
    """GFLOP/s of a 3x3 convolution of so many images at `SHAPE`: the most that a network of them can reach."""
    import tensorflow as tf

    x, kernel = tf.random.normal((images, *SHAPE[:2], channels)), tf.random.normal((3, 3, channels, channels))
    return _gflop_per_s(18 * math.prod(x.shape) * channels, lambda: tf.nn.conv2d(x, kernel, 1, "SAME"), rounds)


def _gflop_per_s(operations, function, rounds):
    """By the shortest of some rounds."""
    return round(operations / min(timed(lambda: function().numpy()) for _ in range(rounds)) / 1e9, 1)


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
    """`sample` of so many images, and where the peer is told how many evaluations that takes, the operations of them by count."""
    import keras_genzoo as gz
    from keras_genzoo.core import flops

    model = gz.build(asked["recipe"], SHAPE, seed=0, **asked["overrides"])
    if asked["fitted"]:
        images = gz.data.as_array(gz.data.load("fashion_mnist_mini", "train", shuffle=False))
        model.fit(images[:1000], epochs=1, steps_per_epoch=1, verbose=0)
        if hasattr(model, "fit_prior"):
            model.fit_prior(images[:1000])
    told = {"parameters": trained(model)}
    if asked["evaluations"]:
        each = flops.count(model.sample, asked["images"], seed=0, **{**asked["how"], "steps": 1})
        told |= {"gflop": round(each * asked["evaluations"] / 1e9, 1), "matmul": matrix_product()}
        told["convolution"] = convolution(asked["images"], asked["width"])
    return lambda: model.sample(asked["images"], seed=0, **asked["how"]), told


def loop(asked):
    """Steps by `fit`, of the data or of one batch that is held, or by a bare loop over `train_step` in a `tf.function`; as many
    go before, so that what begins is not measured."""
    import tensorflow as tf

    import keras_genzoo as gz

    model = gz.build(asked["recipe"], SHAPE, seed=0)
    data = gz.data.load("fashion_mnist_mini", "train", batch_size=asked["batch_size"], **model.data_needs).repeat()
    data = data.take(1).cache().repeat() if asked["held"] else data
    least = model.steps_per_execution
    model.fit(data, steps_per_epoch=least, verbose=0)
    steps = -(-asked["steps"] // least) * least
    if asked["bare"]:
        step = tf.function(model.train_step, jit_compile=model.jit_compile, reduce_retracing=True)

        def some(batches):
            for _ in range(steps):
                logs = step(next(batches))
            next(iter(logs.values())).numpy()  # waits for the device

        def work():
            batches = iter(data)
            some(batches)
            return timed(some, batches)

        return work, {"steps": steps}

    work = second_epoch(model, data, steps)
    short = statistics.median(timed(model.fit, data, steps_per_epoch=least, verbose=0) for _ in range(5))
    return work, {"steps": steps, "begin": short - least * work() / steps}


def timed(function, *arguments, **settings):
    """The seconds that a call takes."""
    started = time.perf_counter()
    function(*arguments, **settings)
    return Seconds(time.perf_counter() - started)


def fit(asked):
    """`fit` for so many steps in a precision, and the monitored loss of the validation images behind it."""
    import keras_genzoo as gz

    model = gz.build(asked["recipe"], SHAPE, total_steps=asked["steps"], seed=asked["seed"], dtype=asked["dtype"])
    load = functools.partial(gz.data.load, "fashion_mnist_mini", batch_size=128, **model.data_needs)
    data, steps = load(split="train", seed=asked["seed"]).repeat(), model.steps_per_execution
    model.fit(data, steps_per_epoch=-(-asked["steps"] // steps) * steps, verbose=0)
    found = model.evaluate(load(split="validation"), return_dict=True, verbose=0)[model.monitor.removeprefix("val_")]
    timed = -(-asked["timed"] // steps) * steps
    return lambda: model.fit(data, steps_per_epoch=timed, verbose=0), {"loss": float(found)}


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
    from benchmarks.speed.scored import features

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
    return lambda: metrics.neighbour_scores(*pair, 5, 5), {}


def nearest(asked):
    from keras_genzoo.metrics.neighbours import nearest

    return functools.partial(nearest, None, features(asked)[0], 5), {}


WORKS = {
    "training": training,
    "sampling": sampling,
    "loop": loop,
    "fit": fit,
    "inception": inception,
    "distance": distance,
    "kernel": kernel,
    "neighbours": neighbours,
    "nearest": nearest,
}

if __name__ == "__main__":
    serve(lambda asked: WORKS[asked["work"]](asked))
