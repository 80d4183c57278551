"""What the numbers of an epoch mean: how much a term of a step counts in its mean, and which way is better."""

import keras
import tensorflow as tf

from keras_genzoo.core.shares import counts


def added(layer):
    """What a layer's kernel regularisers and, in its last call, `add_loss` add to a loss, a float32 scalar."""
    return sum((tf.cast(loss, tf.float32) for loss in layer.losses), tf.constant(0.0))


def counted(model, name, value, rows):
    """A term and its weights in the mean of its tracker.

    Numbers per image count alike, and a scalar beside them, a statistic of the batch, by the images in it. A replica without
    images of its own counts nothing. A step that a loss scale skips, as its gradients overflow, has no gradient norm.

    Args:
        model: `GenerativeModel`.
        name: str. The term's.
        value: tensor, a scalar or one number an image.
        rows: int or scalar tensor. Images in the batch.
    """
    own, network = counts(), name.removesuffix("_gradient_norm")
    weight = tf.cast(1 if value.shape.rank else rows, tf.float32)
    if own is not None:
        weight *= tf.cast(own, tf.float32)
    used = [getattr(model, argument, None) for argument, names in model.optimizers.items() if network in names]
    if network != name and any(isinstance(each, keras.optimizers.LossScaleOptimizer) for each in used):
        finite = tf.math.is_finite(value)
        value, weight = tf.where(finite, value, 0.0), weight * tf.cast(finite, tf.float32)
    return value, weight * tf.ones_like(value, tf.float32)


def point(model, callbacks):
    """Tell callbacks that watch a number, as EarlyStopping, which way is better, where they were not told (`mode="auto"`).

    Keras knows that of its own metrics alone. A loss of a game, as of a critic, has no better way.

    Args:
        model: `GenerativeModel`.
        callbacks: callbacks as `fit` takes them.
    """
    listed = getattr(callbacks, "callbacks", callbacks)
    for callback in listed if isinstance(listed, (list, tuple)) else [listed]:
        watched = getattr(callback, "monitor", None)
        if isinstance(watched, str) and getattr(callback, "mode", None) == "auto":
            name = watched.removeprefix("val_")
            played = ("critic_loss", "divergence_loss", "adversarial_loss") if "critic_loss" in model.terms else ()
            told = name in model.terms and name.endswith(("_loss", "bits_per_dim")) and name not in played
            if name == "fd" or (told and model.monitor is not None):
                callback.mode = "min"
            elif name in model.rising:
                callback.mode = "max"
