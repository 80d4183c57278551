"""Points in the plane with known modes: what a GAN finds of them. `python -m benchmarks.toys` prints and writes the table.

The data are a ring of 8 Gaussians (radius 1, standard deviation 0.01) and a grid of 25 (spacing 2, standard deviation 0.05), as
in PacGAN (Lin et al. 2018, arXiv:1712.04086, section 4.1), and one Gaussian on a line, all scaled into [-1, 1]. A point is an
image of one pixel, its coordinates the channels, so what is trained are the recipes themselves, with dense networks.
"""

from pathlib import Path

import click
import numpy as np

N = 20_000
DENSE = {"kind": "dense", "width": 128, "depth": 3, "latent_dim": 16, "generator_normalization": None}


def ring():
    angles = 2 * np.pi * np.arange(8) / 8
    return 0.8 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.8 * 0.01


def grid():
    line = np.arange(-4, 5, 2) * 0.2
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), 0.05 * 0.2


def line():
    return np.array([[0.3]]), 0.2


TOYS = {"ring": ring, "grid": grid, "line": line}


def draw(centres, sigma, n, seed):
    """n points of an even mixture, `(n, dimensions)`."""
    random = np.random.default_rng(seed)
    return centres[random.integers(len(centres), size=n)] + sigma * random.normal(size=(n, centres.shape[1]))


def as_images(points):
    """Points in [-1, 1] as images of one pixel, floats in [0, 1]."""
    return np.clip((points[:, None, None] + 1) / 2, 0, 1).astype("float32")


def as_points(images):
    return 2 * np.asarray(images, "float64").reshape(len(images), -1) - 1


def modes(points, centres, sigma):
    """How many modes are found, with at least a tenth of their even share of the points within 3 sigma, and the share of all
    points that lie so near to one."""
    distances = np.linalg.norm(points[:, None] - centres[None], axis=-1)
    near = distances.min(axis=1) < 3 * sigma
    counts = np.bincount(distances.argmin(axis=1)[near], minlength=len(centres))
    return int(np.sum(counts >= 0.1 * len(points) / len(centres))), float(near.mean())


def wasserstein_2(x, y):
    """The exact distance of two samples of one size on a line: their sorted points are the best pairs."""
    return float(np.sqrt(np.mean((np.sort(x.ravel()) - np.sort(y.ravel())) ** 2)))


def train(recipe, toy, steps, seed, **overrides):
    """Train a recipe on a toy and return 10,000 generated points."""
    import keras
    import tensorflow as tf

    import keras_genzoo as gz

    keras.utils.set_random_seed(seed)
    points = draw(*TOYS[toy](), N, seed)
    settings = {**DENSE, "jit_compile": True, "steps_per_execution": 50, **overrides}
    model = gz.build(recipe, (1, 1, points.shape[1]), total_steps=steps, seed=seed, **settings)
    # Not by gz.data.load, whose 256 levels are as wide as these modes.
    batches = tf.data.Dataset.from_tensor_slices(as_images(points)).repeat().shuffle(N, seed=seed).batch(256)
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
    return as_points(model.sample(10_000, seed=seed))


RUNS = [  # toy, recipe, steps, hyperparameters
    ("ring", "gan", 6000, {}),
    ("ring", "dcgan", 6000, {"objective": "minimax", "critic_normalization": None}),
    ("grid", "gan", 12000, {}),
    ("grid", "dcgan", 12000, {"objective": "minimax", "critic_normalization": None}),
    # Slopes are free to differ from 1 on so short a line: with the weight for images, 10, samples keep to one point.
    ("line", "wgan_gp", 1500, {"latent_dim": 2, "penalty_weight": 0.1}),
]


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--toys", default=",".join(TOYS), help="Names by comma.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/toys.md"))
def main(seeds, toys, out):
    """Train on every toy over several seeds and write the table and a picture of the points."""
    import pandas as pd
    from matplotlib.figure import Figure

    from keras_genzoo.core.files import replacing

    lines, shown = [], []
    for toy, recipe, steps, overrides in RUNS:
        if toy not in toys.split(","):
            continue
        centres, sigma = TOYS[toy]()
        name = overrides.get("objective") or recipe
        for seed in range(seeds):
            points = train(recipe, toy, steps, seed, **overrides)
            line = {"toy": toy, "model": name, "seed": seed, "steps": steps}
            if toy == "line":
                line["W2"] = f"{wasserstein_2(points, draw(centres, sigma, len(points), seed + 1)):.3f}"
            else:
                found, share = modes(points, centres, sigma)
                line |= {"modes": f"{found} of {len(centres)}", "within 3 sigma": f"{share:.1%}"}
                shown.append((f"{toy}, {name}, seed {seed}: {found}", points))
            lines.append(line)
            click.echo(line)
    table = pd.DataFrame(lines).fillna("–").to_markdown(index=False)
    with replacing(out) as temporary:
        temporary.write_text(
            f"# Toys\n\nBy `python -m benchmarks.toys`, {seeds} seeds; 10,000 generated points each.\n\n{table}\n"
        )
    if shown:
        rows = -(-len(shown) // seeds)
        figure = Figure((3 * seeds, 3 * rows), layout="constrained")
        places = figure.subplots(rows, seeds, squeeze=False).flat
        for axes, (title, points) in zip(places, shown, strict=False):
            axes.plot(*points[:2000].T, ".", markersize=1)
            axes.set(title=title, xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
        with replacing(out.with_suffix(".png")) as temporary:
            figure.savefig(temporary, dpi=60, format="png")


if __name__ == "__main__":
    main()
