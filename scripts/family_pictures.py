"""The pictures of docs/families, of real runs: `python scripts/family_pictures.py`, about ten minutes on two cores.

Each family trains one recipe, and writes `<page>-curves.png`, what `fit` logged, and `<page>-samples.png`, real images with
reconstructions and samples. `--steps 20 --out pictures` tries it out.
"""

import argparse
import dataclasses
import io
import time
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_genzoo as gz

OUT = Path(__file__).parents[1] / "docs" / "families" / "images"
DATA, POINTS, BYTES = "fashion_mnist_mini", 25, 60_000
COLUMNS, SHOWN, SAMPLES = 16, 32, 64
FEATURES = "fashion-cnn"


@dataclasses.dataclass(frozen=True)
class Run:
    """What a family trains, for 60 to 90 seconds on two CPU cores, and what its curves show.

    Attributes:
        recipe: str.
        steps: int. Training steps.
        batch_size: int.
        panels: dict of the labels of axes to names of logged values.
        distance: bool. Whether the Frechet distance of samples is measured, about five times.
        settings: dict. Hyperparameters of the recipe.
        validated: int. Validation images of each point of a curve.
    """

    recipe: str
    steps: int
    batch_size: int
    panels: dict
    distance: bool = False
    settings: dict = dataclasses.field(default_factory=dict)
    validated: int = 2000

    @property
    def title(self):
        return ", ".join([self.recipe, *(f"{name}={value}" for name, value in self.settings.items())])


FRECHET = {f"FD[{FEATURES}] of samples": ("val_fd",)}
RUNS = {
    "autoencoders": Run(
        "rae_l2",
        7500,
        128,
        {"reconstruction (squared error)": ("reconstruction_loss",), "norm of codes": ("code_loss",), "decay": ("decay_loss",)},
    ),
    "vaes": Run(
        "vae",
        7500,
        128,
        {"loss (nats)": ("loss",), "reconstruction (nats)": ("reconstruction_loss",), "KL divergence (nats)": ("kl_loss",)},
    ),
    "waes": Run(
        "wae_mmd",
        7500,
        128,
        {"reconstruction (squared error)": ("reconstruction_loss",), "squared MMD of codes": ("latent_mmd",)},
    ),
    "gans": Run(
        "gan",
        1500,
        64,
        {
            "probability of being real": ("real_score", "fake_score"),
            "losses": ("loss", "critic_loss"),
            "gradient norm of the generator": ("generator_gradient_norm",),
            "diversity": ("diversity",),
            **FRECHET,
        },
        distance=True,
    ),
    "flows": Run("glow", 1000, 64, {"bits per dimension": ("bits_per_dim",)}),
    "autoregressive": Run(
        "pixelcnn_pp", 500, 16, {"bits per dimension": ("bits_per_dim",)}, settings={"width": 16}, validated=256
    ),
    "diffusion": Run(
        "latent_diffusion",
        2500,
        128,
        {"squared error of the velocity": ("loss",), "reconstruction": ("reconstruction_loss",), **FRECHET},
        distance=True,
    ),
    "energies": Run(
        "ebm",
        1500,
        64,
        {
            "energy gap, data less chains": ("contrastive_loss",),
            "energy": ("real_energy", "sample_energy"),
            "mean square of energies": ("energy_loss",),
            "gradient norm": ("network_gradient_norm",),
        },
    ),
}


def train(run, steps):
    """The trained model and its history, a value after every epoch of `steps / POINTS` steps."""
    data, validation = (gz.data.load(DATA, split, batch_size=run.batch_size) for split in ("train", "validation"))
    validation = validation.take(-(-run.validated // run.batch_size))
    keras.utils.set_random_seed(0)
    epochs = min(POINTS, steps)
    model = gz.build(run.recipe, (28, 28, 1), total_steps=steps, seed=0, **run.settings)
    callbacks = [gz.callbacks.StopOnDivergence()]
    if run.distance:
        callbacks.append(gz.callbacks.FrechetDistanceMonitor(validation, every=max(epochs // 4, 1), n=1000, features=FEATURES))
    settings = dict(epochs=epochs, steps_per_epoch=steps // epochs, verbose=0, callbacks=callbacks)
    history = model.fit(data.repeat(), validation_data=validation, **settings).history
    if hasattr(model, "fit_prior"):
        model.fit_prior(data)
    return model, history


def curves(run, history, steps):
    """A figure of a panel for each group of logged values, of training and of validation images."""
    count = len(run.panels)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure((4 * columns, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (label, names) in zip(grid, run.panels.items(), strict=False):
        for name in names:
            values = history[name]
            at = (np.arange(len(values)) + 1) * (steps / len(values))
            (line,) = axes.plot(at, values, label=name)
            if f"val_{name}" in history:
                axes.plot(at, history[f"val_{name}"], "--", color=line.get_color(), label=f"val_{name}")
        axes.set(xlabel="training steps", ylabel=label)
        axes.legend(fontsize="small")
    for axes in grid[count:]:
        axes.set_axis_off()
    figure.suptitle(f"{run.title} on {DATA}, batches of {run.batch_size}", wrap=True)
    return figure


def samples(run, model):
    """A figure of real images, their reconstructions where there are, and samples."""
    real = gz.data.as_array(gz.data.load(DATA, "validation"), n=SHOWN)
    sheets = {"real images": real}
    if hasattr(model, "reconstruct"):
        sheets["their reconstructions"] = model.reconstruct(real)
    sheets["samples"] = model.sample(SAMPLES, seed=0)
    heights = [-(-len(images) // COLUMNS) for images in sheets.values()]
    figure = Figure((7, 0.45 * sum(heights) + 0.35 * len(sheets) + 0.3), layout="constrained")
    grid = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=heights).ravel()
    for axes, (title, images) in zip(grid, sheets.items(), strict=True):
        axes.imshow(gz.images.tile(images, COLUMNS), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize="medium")
        axes.set_axis_off()
    figure.suptitle(run.title)
    return figure


def write(figure, path):
    """Write a figure as PNG of at most BYTES."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100, format="png")
    pack(Image.open(drawn).convert("RGB"), path)


def pack(image, path, most=BYTES):
    """Write an image of at most so many bytes: as PNG with as many colours as fit, or as WebP where the path says so."""
    if path.suffix == ".webp":
        for quality in (90, 80, 70, 60, 50, 40):
            packed = io.BytesIO()
            image.save(packed, format="webp", quality=quality)
            if packed.tell() <= most:
                break
        else:
            raise SystemExit(f"{path.name} has {packed.tell():,} bytes, expected at most {most:,}; make it smaller.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed.getvalue())
        print(f"  {path.name}: {packed.tell():,} bytes, quality {quality}")
        return
    for colours in (256, 128, 64, 32, 16, 8):
        packed = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(packed, format="PNG", optimize=True)
        if packed.tell() <= most:
            break
    else:
        raise SystemExit(f"{path.name} has {packed.tell():,} bytes with 8 colours, expected at most {most:,}; make it smaller.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.getvalue())
    print(f"  {path.name}: {packed.tell():,} bytes, {colours} colours")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="page", help=f"some of {', '.join(RUNS)}; all by default")
    parser.add_argument("--steps", type=int, help="training steps of each run instead of its own")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.pages} - {*RUNS}):
        parser.error(f"there is no page {unknown[0]!r}, expected some of {', '.join(RUNS)}.")
    for page in arguments.pages or RUNS:
        run = RUNS[page]
        steps = arguments.steps or run.steps
        start = time.perf_counter()
        model, history = train(run, steps)
        values = {name: float(f"{history[name][-1]:.3g}") for names in run.panels.values() for name in names}
        print(f"{page}: {run.recipe}, {steps} steps in {time.perf_counter() - start:.0f} s; at the end {values}")
        write(curves(run, history, steps), arguments.out / f"{page}-curves.png")
        write(samples(run, model), arguments.out / f"{page}-samples.png")


if __name__ == "__main__":
    main()
