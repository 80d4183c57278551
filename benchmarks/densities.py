"""Densities in the plane that are known, and how near flows come. `python -m benchmarks.densities` prints and writes the table.

Two moons, a checkerboard and a ring of Gaussians, all inside of the unit square. A point is an image of one pixel, its
coordinates the channels, so what is trained are the recipes themselves.
"""

from pathlib import Path

import click
import numpy as np

N = 50_000
TEST = 20_000


class Moons:
    """Two half circles of radius 1 about (0, 0) and (1, 0.5), angles uniform, with Gaussian noise of 0.1; scaled by 0.2."""

    noise, scale, centre = 0.1, 0.2, np.array([0.4, 0.45])

    def arcs(self, angles):
        upper = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        return np.stack([upper, [1.0, 0.5] - upper])

    def draw(self, n, random):
        arcs = self.arcs(random.uniform(0, np.pi, n))
        points = arcs[random.integers(2, size=n), np.arange(n)] + self.noise * random.normal(size=(n, 2))
        return self.centre + self.scale * points

    def log_prob(self, points):
        """By the midpoint rule over 1,000 angles, whose steps are 0.03 of the noise."""
        arcs = self.arcs((np.arange(1000) + 0.5) * np.pi / 1000).reshape(-1, 2)
        return mixture_log_prob((points - self.centre) / self.scale, arcs, self.noise) - 2 * np.log(self.scale)


class Checkerboard:
    """Uniform on every other of 4 x 4 squares, 0.8 wide in all."""

    def draw(self, n, random):
        column, row = random.integers(4, size=n), random.integers(2, size=n)
        cells = np.stack([column, 2 * row + column % 2], axis=1)
        return 0.1 + 0.2 * (cells + random.uniform(size=(n, 2)))

    def log_prob(self, points):
        cells = np.floor((points - 0.1) / 0.2)
        inside = (cells.min(axis=1) >= 0) & (cells.max(axis=1) <= 3) & (cells.sum(axis=1) % 2 == 0)
        return np.where(inside, -np.log(8 * 0.2**2), -np.inf)


class Ring:
    """Eight Gaussians, deviation 0.04, on a circle of radius 0.3."""

    angles = 2 * np.pi * np.arange(8) / 8
    centres = 0.5 + 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def draw(self, n, random):
        return self.centres[random.integers(8, size=n)] + 0.04 * random.normal(size=(n, 2))

    def log_prob(self, points):
        return mixture_log_prob(points, self.centres, 0.04)


def mixture_log_prob(points, centres, sigma):
    """log of an even mixture of round Gaussians."""
    from scipy.special import logsumexp

    blocks = np.array_split(points, 1 + len(points) // 1000)
    squares = (((block[:, None] - centres) ** 2).sum(axis=-1) for block in blocks)
    sums = np.concatenate([logsumexp(-each / (2 * sigma**2), axis=1) for each in squares])
    return sums - np.log(len(centres)) - np.log(2 * np.pi * sigma**2)


DENSITIES = {"two moons": Moons(), "checkerboard": Checkerboard(), "eight Gaussians": Ring()}
LOGIT = {"marginals": False, "dequantisation": 0, "dense": 0}  # what helps images only
RECIPES = {  # hyperparameters
    "planar_flow": {"layers": 32, "learning_rate": 3e-3},
    "realnvp": {**LOGIT, "levels": 1, "steps": 8, "checkerboard": 0, "width": 64},
    "maf": {"layers": 5, "width": 128, "depth": 2},
    "spline_flow": {**LOGIT, "levels": 1, "steps": 6, "width": 64},
}


def train(recipe, density, updates, seed, **overrides):
    """The trained model of a recipe."""
    import keras
    import tensorflow as tf

    import keras_genzoo as gz

    keras.utils.set_random_seed(seed)
    points = density.draw(N, np.random.default_rng(seed))
    settings = {"jit_compile": True, "steps_per_execution": 50, **overrides}
    model = gz.build(recipe, (1, 1, 2), total_steps=updates, seed=seed, **settings)
    # The model adds the noise of dequantisation, (255 x + u) / 256, to what it is given.
    images = np.clip(points[:, None, None], 0, 1).astype("float32")
    batches = tf.data.Dataset.from_tensor_slices(images).repeat().shuffle(N, seed=seed).batch(256)
    model.fit(batches, steps_per_epoch=updates, epochs=1, verbose=0)
    return model


def divergence(model, density, seed):
    """The mean of log p - log q over points of p, and its standard error, in nats."""
    points = density.draw(TEST, np.random.default_rng(seed + 1000))
    log_q = np.concatenate([np.asarray(model(block)) for block in np.array_split(points.astype("float32")[:, None, None], 10)])
    gaps = density.log_prob(points) - (log_q + 2 * np.log(255 / 256))  # the model's points are (255 x + 1 / 2) / 256
    return gaps.mean(), gaps.std() / np.sqrt(TEST)


@click.command(context_settings={"show_default": True})
@click.option("--steps", type=click.IntRange(1), default=5000)
@click.option("--seed", type=int, default=0)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/densities.md"))
def main(steps, seed, out):
    """Train flows on every density and write the table of divergences and a picture of samples."""
    import pandas as pd
    from matplotlib.figure import Figure

    from keras_genzoo.core.files import replacing

    figure = Figure((3 * (1 + len(RECIPES)), 3 * len(DENSITIES)), layout="constrained")
    places = figure.subplots(len(DENSITIES), 1 + len(RECIPES))
    lines = []
    for row, (name, density) in zip(places, DENSITIES.items(), strict=True):
        row[0].plot(*density.draw(3000, np.random.default_rng(1)).T, ".", markersize=1)
        row[0].set(title=name, xlim=(0, 1), ylim=(0, 1), aspect="equal")
        for axes, (recipe, overrides) in zip(row[1:], RECIPES.items(), strict=True):
            model = train(recipe, density, steps, seed, **overrides)
            mean, error = divergence(model, density, seed)
            lines.append({"density": name, "model": recipe, "KL to the truth, nats": f"{mean:.3f} ± {1.96 * error:.3f}"})
            click.echo(lines[-1])
            axes.plot(*model.sample(3000, seed=seed).reshape(-1, 2).T, ".", markersize=1)
            axes.set(title=f"{recipe}: {mean:.3f}", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    table = pd.DataFrame(lines).pivot(index="model", columns="density", values="KL to the truth, nats").to_markdown()
    with replacing(out) as temporary:
        temporary.write_text(
            f"# Densities in the plane\n\nBy `python -m benchmarks.densities`: {steps:,} steps of 256 of {N:,} points; the "
            f"divergence over {TEST:,} others, and its 95 % interval.\n\n{table}\n"
        )
    with replacing(out.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=60, format="png")


if __name__ == "__main__":
    main()
