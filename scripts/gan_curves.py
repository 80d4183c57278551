"""The curves of docs/families/gans.md, of real runs: `python scripts/gan_curves.py`, five minutes on two cores."""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_genzoo as gz
from keras_genzoo.core.files import replacing
from keras_genzoo.core.images import tile

OUT = Path(__file__).parents[1] / "docs" / "families" / "images" / "gan-failures.png"
EPOCHS, STEPS, BATCH = 20, 100, 64
UNSTABLE = {"hidden": 256, "learning_rate": 5e-4, "critic_learning_rate": 5e-4, "ema": None}
RUNS = {
    "healthy": ("gan", {}),
    "collapsed": ("lsgan", UNSTABLE),
    "critic too strong": ("dcgan", UNSTABLE),
}
ROWS = {
    "D(x) and D(G(z))": ("real_score", "fake_score"),
    "gradient norm of the generator": ("generator_gradient_norm",),
    "diversity": ("diversity",),
    "distance from validation images": ("val_fd",),
}


def main():
    train, validation = (gz.data.load("fashion_mnist_mini", split, batch_size=BATCH) for split in ("train", "validation"))
    figure = Figure((4 * len(RUNS), 2.2 * len(ROWS) + 4), layout="constrained")
    grid = figure.subplots(len(ROWS) + 1, len(RUNS), squeeze=False, height_ratios=[1] * len(ROWS) + [1.8])
    for column, (title, (recipe, settings)) in zip(grid.T, RUNS.items(), strict=True):
        keras.utils.set_random_seed(0)
        model = gz.build(recipe, (28, 28, 1), total_steps=EPOCHS * STEPS, seed=0, **settings)
        monitor = gz.callbacks.FrechetDistanceMonitor(validation, features="fashion-cnn")
        data = train.repeat()
        log = model.fit(data, epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, callbacks=[monitor]).history
        print(title, {name: [float(f"{value:.3g}") for value in log[name][::6]] for names in ROWS.values() for name in names})
        for axes, (label, names) in zip(column, ROWS.items(), strict=False):
            for name in names:
                axes.plot(np.arange(1, EPOCHS + 1) * STEPS, log[name], label=name)
            axes.set(title=f"{title}: {label}" if axes is column[0] else label)
            axes.set_yscale("log" if label.startswith("g") else "linear")
            if len(names) > 1:
                axes.legend()
        for axes in column[:-1]:
            axes.set_ylim(bottom=None if axes.get_yscale() == "log" else 0)
        column[-2].set_xlabel("steps")
        column[-1].imshow(tile(model.sample(48, seed=0), 8).squeeze(), cmap="gray", vmin=0, vmax=255)
        column[-1].set_axis_off()
    with replacing(OUT) as temporary:
        figure.savefig(temporary, dpi=60, format="png")


if __name__ == "__main__":
    main()
