"""Callbacks of `fit`: pictures while training."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.images import tile, write_png


class SampleGrid(keras.callbacks.Callback):
    """Writes a sheet of samples as PNG after each epoch, always of the same noise, so that sheets compare.

    Args:
        folder: str or Path. Gets `samples-0001.png` and so on; made if missing.
        n: int. Number of samples. Defaults to 64.
        images: array or None. Images whose reconstructions are shown too, under each row of them, as
            `reconstructions-0001.png`. Required of models that cannot sample while they train. Defaults to None.
        every: int. Epochs between sheets. Defaults to 1.
        seed: int. Of the noise. Defaults to 0.
        tensorboard: str, Path or None. A log folder of TensorBoard that gets the same sheets. Defaults to None.

    Raises:
        ValueError: at the start of training, if there would be nothing to show.

    Example:

    >>> model.fit(train, epochs=2, callbacks=[SampleGrid("runs/vae")])
    """

    def __init__(self, folder, n=64, images=None, every=1, seed=0, tensorboard=None):
        super().__init__()
        self.folder, self.n, self.images, self.every, self.seed = Path(folder), n, images, every, seed
        self.writer = None if tensorboard is None else tf.summary.create_file_writer(str(tensorboard))

    def on_train_begin(self, logs=None):
        if self.images is None and not hasattr(self.model, "sample"):
            raise ValueError(
                f"{type(self.model).__name__} cannot sample before its prior is fitted; give SampleGrid images= to reconstruct."
            )

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            if hasattr(self.model, "sample"):
                self._show("samples", epoch, self.model.sample(self.n, seed=self.seed), None)
            if self.images is not None:
                self._show("reconstructions", epoch, *pairs(self.model, self.images))

    def _show(self, name, epoch, images, columns):
        write_png(self.folder / f"{name}-{epoch + 1:04d}.png", images, columns)
        if self.writer is not None:
            sheet = tile(images, columns)
            with self.writer.as_default():
                tf.summary.image(name, sheet.reshape(1, *sheet.shape[:2], -1), step=epoch + 1)


def pairs(model, images, columns=8):
    """Rows of images with the rows of their reconstructions under them, and the number of columns, for `images.tile`.

    Args:
        model: a model with `reconstruct`.
        images: `(n, height, width, channels)`.
        columns: int. Images a row. Defaults to 8.

    Returns:
        float32 array `(2n, height, width, channels)` and the number of columns; the last row is filled up with white.
    """
    columns = min(columns, len(images))
    both = [np.asarray(model.images_of(images)), np.asarray(model.reconstruct(images))]
    blank = np.ones((-len(images) % columns, *model.image_shape), "float32")
    rows = [np.concatenate([each, blank]).reshape(-1, 1, columns, *model.image_shape) for each in both]
    return np.concatenate(rows, axis=1).reshape(-1, *model.image_shape), columns
