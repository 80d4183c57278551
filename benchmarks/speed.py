"""How fast training and scores are, beside the usual ways, in turns within one run: `python -m benchmarks.speed`.

The recipe dcgan trains by `fit` against a bare loop over a `tf.function`, with the same networks. Features of Inception are
timed against torch-fidelity, with the same random weights and images, sampling by a U-Net against the pipeline of diffusers with
a U-Net of the same size, and a Glow against the same one of normflows. These need PyTorch, so they run in an environment of their
own:

    python3 -m venv ~/reference-venv
    ~/reference-venv/bin/pip install torch==2.13.0 torch-fidelity==0.4.0 prdc==0.2 diffusers==0.42.1 normflows==1.7.3
    python -m benchmarks.speed --peer ~/reference-venv/bin/python
"""

import runpy
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "reference_inception.py"
ROUNDS = 3
IMAGES, BATCH = 500, 50  # of 32x32, as CIFAR-10's; torch-fidelity's batches are 64, of which 500 is no multiple
N, DIM = 10_000, 2048
GLOW, FLOW_STEPS, FLOW_BATCH = {"levels": 2, "steps": 4, "width": 64}, 200, 64
SHIPPED = ROOT / "keras_genzoo" / "data" / "shipped" / "fashion_mnist_mini.npz"
SAMPLES, EVALUATIONS = 256, 30  # images and calls of the network for each
CHANNELS, U_NET_PARAMETERS = (16, 32, 64), 619_697  # of a U-Net without attention


def images():
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peer(what):
    """In the process with PyTorch: a line read is a round of work, a line written its seconds."""
    work = {"features": torch_fidelity_features, "sampling": diffusers_sampling, "flow": normflows_training}[what]()
    work()
    for _ in sys.stdin:
        print(seconds(work), flush=True)
    if hasattr(work, "score"):
        print(work.score())


def torch_fidelity_features():
    import torch

    script = runpy.run_path(str(SCRIPT))
    network = script["torch_fidelity"](script["constants"](script["SEED"]), ["2048"], "float32")
    batches = torch.from_numpy(images()).permute(0, 3, 1, 2).split(BATCH)

    def work():
        with torch.no_grad():
            return torch.cat([network(batch)[0] for batch in batches])

    return work


def diffusers_sampling():
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    network = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D",) * len(CHANNELS),
        up_block_types=("UpBlock2D",) * len(CHANNELS),
        add_attention=False,
        norm_num_groups=4,
    )
    assert sum(p.numel() for p in network.parameters()) == U_NET_PARAMETERS
    pipeline = DDIMPipeline(network, DDIMScheduler(1000))
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=SAMPLES, num_inference_steps=EVALUATIONS, output_type="np")


def normflows_training():
    import normflows
    import torch

    steps = []
    for channels in (8, 4):  # the last level first
        blocks = [
            normflows.flows.GlowBlock(channels, GLOW["width"], split_mode="channel", scale=True) for _ in range(GLOW["steps"])
        ]
        steps.append([*blocks, normflows.flows.Squeeze()])
    priors = [normflows.distributions.DiagGaussian(shape, trainable=False) for shape in ((8, 7, 7), (2, 14, 14))]
    model = normflows.MultiscaleFlow(priors, steps, [normflows.flows.Merge()], normflows.transforms.Logit(0.05))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with np.load(SHIPPED) as arrays:
        train, test = (torch.from_numpy(arrays[f"{split}_images"]).permute(0, 3, 1, 2) for split in ("train", "test"))
    order = iter(torch.randint(len(train), (FLOW_STEPS * (ROUNDS + 1), FLOW_BATCH), generator=torch.Generator().manual_seed(0)))

    def cube(levels):
        return (levels.float() + torch.rand(levels.shape)) / 256

    def work():
        for _ in range(FLOW_STEPS):
            optimizer.zero_grad()
            model.forward_kld(cube(train[next(order)])).backward()
            optimizer.step()

    def score():
        with torch.no_grad():
            nats = torch.cat([model.log_prob(cube(batch), None) for batch in test.split(250)]).mean().item()
        return 8 - nats / (784 * np.log(2))  # of a density on the unit cube

    work.score = score
    return work


def in_turns(python, what, ours, scores=None):
    """Seconds of a function and of a peer's work, a list each; a score that the peer has in the end joins the list `scores`."""
    mine, theirs = [], []
    ours()
    with subprocess.Popen([python, __file__, "peer", what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(ROUNDS):
            mine.append(seconds(ours))
            process.stdin.write("go\n")
            process.stdin.flush()
            theirs.append(float(process.stdout.readline()))
        process.stdin.close()
        if scores is not None:
            scores.append(float(process.stdout.readline()))
    return mine, theirs


def feature_seconds(python):
    """Seconds of our extractor and of torch-fidelity's, a list each."""
    from keras_genzoo.metrics import inception
    from keras_genzoo.metrics.features import FeatureExtractor

    script = runpy.run_path(str(SCRIPT))
    model = inception.build()
    inception.set_constants(model, script["constants"](script["SEED"]))
    features = FeatureExtractor(model, "pool_3", inception.preprocess, batch_size=BATCH)
    batch = images()
    return in_turns(python, "features", lambda: features(batch))


def sampling_seconds(python):
    """Seconds of sampling by the recipe flow_matching and by diffusers' pipeline, a list each."""
    import keras_genzoo as gz

    width = CHANNELS[0]
    model = gz.build("flow_matching", (28, 28, 1), width=width, multipliers=[count // width for count in CHANNELS], seed=0)
    # Joined pixels make the first and the last convolution larger, by 0.14 %.
    assert abs(model.network.count_params() / U_NET_PARAMETERS - 1) < 0.01
    return in_turns(python, "sampling", lambda: model.sample(SAMPLES, seed=0, sampler="ddim", steps=EVALUATIONS))


def flow_seconds(python):
    """Seconds of so many steps of Glow here and in normflows, a list each, and the bits/dim of test images after all of them."""
    import keras_genzoo as gz

    plain = {"marginals": False, "dequantisation": 0, "dense": 0, "alpha": 0.05, "clipnorm": None, "ema": None}
    model = gz.build("glow", (28, 28, 1), **GLOW, **plain, learning_rate=1e-3, seed=0)
    data = gz.data.load("fashion_mnist_mini", "train", batch_size=FLOW_BATCH).repeat()
    fit = lambda: model.fit(data, steps_per_epoch=FLOW_STEPS, verbose=0)  # noqa: E731
    scores = []
    times = in_turns(python, "flow", fit, scores)
    test = gz.data.as_array(gz.data.load("fashion_mnist_mini", "test", shuffle=False))
    return times, float(np.mean(model.bits_per_dim(test))), scores[0]


def distance_seconds():
    """Seconds of our statistics and distance and of NumPy's covariance with SciPy's `sqrtm`, a list each."""
    import scipy.linalg

    from keras_genzoo import metrics
    from keras_genzoo.metrics.frechet import statistics_distance

    random = np.random.default_rng(0)
    real, generated = random.random((N, DIM), np.float32), random.random((N, DIM), np.float32) ** 1.1

    def our_way():
        sides = [metrics.GaussianStatistics(DIM), metrics.GaussianStatistics(DIM)]
        for side, features in zip(sides, (real, generated), strict=True):
            for start in range(0, N, 4096):
                side.update(features[start : start + 4096])
        return statistics_distance(*sides, "FD")

    def usual_way():
        mu1, mu2 = real.mean(axis=0), generated.mean(axis=0)
        sigma1, sigma2 = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
        root = scipy.linalg.sqrtm(sigma1 @ sigma2).real
        return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root)

    np.testing.assert_allclose(our_way(), usual_way(), rtol=1e-4)
    rounds = [(seconds(our_way), seconds(usual_way)) for _ in range(ROUNDS)]
    return tuple(map(list, zip(*rounds, strict=True)))


def bare_step(model):
    """Algorithm 1 of Goodfellow et al. 2014 for the networks and the optimizers of a model, and nothing else."""
    import tensorflow as tf

    generator, critic = model.generator, model.critic

    def fakes(n):
        return generator(tf.random.normal((n, model.latent_dim)), training=True)

    def descend(optimizer, network, tape, loss):
        variables = [variable.value for variable in network.trainable_variables]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), network.trainable_variables, strict=True))

    @tf.function(jit_compile=model.jit_compile)
    def step(images):
        real, n = tf.cast(images, tf.float32) / 127.5 - 1.0, tf.shape(images)[0]
        with tf.GradientTape() as tape:
            scores = critic(real, training=True), critic(fakes(n), training=True)
            loss = tf.reduce_mean(tf.nn.softplus(-scores[0])) + tf.reduce_mean(tf.nn.softplus(scores[1]))
        descend(model.critic_optimizer, critic, tape, loss)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softplus(-critic(fakes(n), training=True)))
        descend(model.optimizer, generator, tape, loss)

    return step


def training_seconds(recipe="dcgan", steps=200, batch_size=64):
    """Seconds of `fit` and of the bare loop for as many steps, a list each."""
    import keras_genzoo as gz

    data = gz.data.load("fashion_mnist_mini", "train", batch_size=batch_size).repeat()
    models = [gz.build(recipe, (28, 28, 1), total_steps=10**6, ema=None, seed=0) for _ in range(2)]
    step = bare_step(models[1])

    def bare():
        for images in data.take(steps):
            step(images)
        models[1].generator.weights[0].numpy()  # waits for the device

    def fit():
        models[0].fit(data, steps_per_epoch=steps, verbose=0)

    for work in (fit, bare):
        work()  # compiles
    rounds = [(seconds(fit), seconds(bare)) for _ in range(5 * ROUNDS)]
    return tuple(map(list, zip(*rounds, strict=True)))


def main():
    import click

    @click.command(context_settings={"show_default": True})
    @click.option("--peer", "python", help="Python with the peers; without it what compares with them is left out.")
    @click.option("--out", type=click.Path(path_type=Path), default=Path("runs/speed.md"))
    def command(python, out):
        """Time training and scores beside the usual ways and write a table."""
        import pandas as pd

        from keras_genzoo.core.files import replacing
        from keras_genzoo.core.runs import environment

        timed = {"200 steps of dcgan by fit, against a bare loop with the same networks": training_seconds()}
        if python:
            timed[f"Inception's features of {IMAGES} images, against torch-fidelity"] = feature_seconds(python)
            what = f"{SAMPLES} samples of {EVALUATIONS} calls of a U-Net, against diffusers' DDIMPipeline, sizes equal"
            timed[what] = sampling_seconds(python)
            times, ours, theirs = flow_seconds(python)
            bits = f"{ours:.2f} bits/dim after {FLOW_STEPS * (ROUNDS + 1)} of them and {theirs:.2f} there"
            timed[f"{FLOW_STEPS} steps of Glow, against normflows ({bits})"] = times
        timed[f"statistics and Frechet distance of {N:,} x {DIM} features, against scipy's sqrtm"] = distance_seconds()
        lines = []
        for what, pair in timed.items():
            ours, theirs = (statistics.median(each) for each in pair)
            ratios = [b / a for a, b in zip(*pair, strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append({"what": what, "s": f"{ours:.2f}", "theirs, s": f"{theirs:.2f}", "times as fast": spread})
        machine = environment()
        text = (
            f"# Speed\n\n{machine['cpu']}, {machine['cores']} cores, {machine['device']}; TensorFlow "
            f"{machine['tensorflow']}; rounds in turns, medians, and the range of the ratio; made "
            f"by `python -m benchmarks.speed`.\n\n{pd.DataFrame(lines).to_markdown(index=False)}\n"
        )
        with replacing(out) as temporary:
            temporary.write_text(text)
        click.echo(text)

    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        peer(sys.argv[2])
    else:
        main()
