"""What is asked of an autoencoder beside reconstruction: terms of its loss, and corruptions of what its encoder sees."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.core.checks import input_shapes, operations, output_shapes, whole
from keras_genzoo.core.serialization import Part, named

_registered = keras.saving.register_keras_serializable("keras_genzoo")


def check_unmixed(network, what):
    """Raise one sentence if a network has batch normalisation: gradients by its inputs are to be each image's own."""
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers()):
        raise ValueError(
            f"the {what} has batch normalisation, which mixes images, so that no image has a Jacobian of its own; build it with "
            f"normalization='layer' or None{', by critic_normalization of a recipe' if what == 'critic' else ''}."
        )


def _check_alone(network, what, regularizer):
    """Raise one sentence if a network is told a condition, of which a Jacobian by its input knows nothing."""
    if len(input_shapes(network, what, any_size=True)) > 1:
        raise ValueError(f"{regularizer} is of networks that are told nothing, and the {what} takes a condition; leave one out.")


def _total(x):
    """Sum over all but the batch axis, `(batch,)`."""
    return ops.sum(x, axis=tuple(range(1, len(x.shape))))


class Regularizer(Part):
    """Base: a term of an autoencoder's loss, `weight` times its value, which the metric `term` shows unweighted.

    Args:
        weight: float above 0.

    Class attributes:
        term: name of the metric, `<what>_loss`.
        least_rows: the fewest images of a batch that it can be computed of. Defaults to 1.
    """

    term = None
    least_rows = 1

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        if not weight > 0:
            raise ValueError(f"weight is {weight!r}, expected a number above 0.")
        self.weight = weight

    def check(self, encoder, decoder):
        """Raise one sentence unless it can be computed of these networks."""

    def __call__(self, model, x, z, random, training):
        """The value, a scalar or one number an image.

        Args:
            model: the `Autoencoder`.
            x: images in [0, 1].
            z: their codes, of the corrupted images where the model corrupts them.
            random: `randomness.Stream`.
            training: bool.
        """
        raise NotImplementedError


@_registered
class SparseKL(Regularizer):
    """Sum over code units j of KL(target || mean activation of j), as of Bernoulli variables (Ng 2011, lecture notes of CS294A,
    section 3). The mean is over the batch, of all replicas. The encoder must end in a sigmoid.

    Args:
        weight: float above 0. Defaults to 3.
        target: float in (0, 1). Mean activation asked for. Defaults to 0.05.
    """

    term = "sparsity_loss"
    least_rows = divergences.LEAST_ROWS

    def __init__(self, weight=3.0, target=0.05, **kwargs):
        super().__init__(weight, **kwargs)
        if not 0 < target < 1:
            raise ValueError(f"target is {target!r}, expected a mean activation between 0 and 1, such as 0.05.")
        self.target = target

    def check(self, encoder, decoder):
        x, *told = (np.random.default_rng(0).random((16, *shape), "float32") for shape in input_shapes(encoder, "encoder"))
        codes = encoder([x, *told] if told else x)
        if not (np.min(codes) >= 0 and np.max(codes) <= 1):
            raise ValueError("the encoder's codes leave [0, 1]; let it end in a sigmoid, as by output_activation='sigmoid'.")

    def __call__(self, model, x, z, random, training):
        rows = divergences.gather(z)
        mean = ops.clip(ops.mean(rows, axis=0), 1e-6, 1.0 - 1e-6)
        rest, target = 1.0 - self.target, self.target
        divergence = ops.sum(target * ops.log(target / mean) + rest * ops.log(rest / (1.0 - mean)))
        return divergences.of_enough(divergence, rows)


@_registered
class SparseL1(Regularizer):
    """Sum of the absolute values of the code units, an image.

    Args:
        weight: float above 0. Defaults to 0.1.
    """

    term = "sparsity_loss"

    def __init__(self, weight=0.1, **kwargs):
        super().__init__(weight, **kwargs)

    def __call__(self, model, x, z, random, training):
        return _total(ops.abs(z))


class _OfJacobian(Regularizer):
    """Base of what looks at the encoder's Jacobian J(x), a row a code unit; arguments as in `Contractive`."""

    def __init__(self, weight, method, samples, **kwargs):
        super().__init__(weight, **kwargs)
        if method not in ("closed_form", "batch_jacobian", "hutchinson"):
            raise ValueError(f"method is {method!r}, expected 'closed_form', 'batch_jacobian' or 'hutchinson'.")
        self.method, self.samples = method, whole(samples=samples)

    def check(self, encoder, decoder):
        check_unmixed(encoder, "encoder")
        _check_alone(encoder, "encoder", type(self).__name__)
        count = len(output_shapes(encoder, "encoder"))
        if count > 1:
            raise ValueError(
                f"the encoder puts out {count} vectors, and {type(self).__name__} is of an encoder of one; "
                f"take a deterministic encoder."
            )
        if self.method == "closed_form":
            self._one_layer(encoder)

    @staticmethod
    def _one_layer(encoder):
        """The dense layer of a one-layer encoder, and the activation behind it."""
        steps = operations(encoder) or []
        layers = [layer for layer in steps if not isinstance(layer, keras.layers.Flatten)]
        alone = len(layers) in (1, 2) and all(isinstance(layer, keras.layers.Activation) for layer in layers[1:])
        # Of a softmax units depend on each other; another class of dense layer computes with another kernel than its own.
        mixing = any(getattr(layer, "activation", None) is keras.activations.softmax for layer in layers)
        if not alone or mixing or type(layers[0]) is not keras.layers.Dense:
            raise ValueError(
                f"method is 'closed_form' and the encoder's layers are {[layer.name for layer in layers]}, expected one Dense "
                f"layer and at most an Activation, each unit's alone; use method='batch_jacobian' or 'hutchinson'."
            )
        dense = layers[0]
        return dense, dense.activation if len(layers) == 1 else lambda a: layers[1](dense.activation(a))

    def probes(self, z, random):
        """The random vectors that the Jacobians are seen through, a list of `(batch, latent_dim)`."""
        return [random.normal(ops.shape(z)) for _ in range(self.samples if self.method == "hutchinson" else 0)]

    def jacobian(self, encoder, x, probes, training):
        """`(batch, ...)`: |J(x) - J(y)|^2 is the squared distance of what this returns, or has it as its expectation."""
        if self.method == "closed_form":
            dense, activation = self._one_layer(encoder)
            flat = ops.reshape(x, (ops.shape(x)[0], -1))
            kernel = ops.cast(ops.convert_to_tensor(dense.kernel), "float32")
            before = ops.matmul(flat, kernel)
            if dense.use_bias:
                before += ops.cast(dense.bias, "float32")
            with tf.GradientTape() as tape:
                tape.watch(before)
                after = activation(before)
            return tape.gradient(after, before) * ops.sqrt(ops.sum(ops.square(kernel), axis=0) + 1e-12)
        with tf.GradientTape(persistent=bool(probes)) as tape:
            tape.watch(x)
            z = encoder(x, training=training)
            seen = [tf.reduce_sum(z * v) for v in probes]
        if not probes:
            return tape.batch_jacobian(z, x)
        return tf.stack([tape.gradient(each, x) for each in seen], axis=1) / math.sqrt(self.samples)


@_registered
class Contractive(_OfJacobian):
    """|J(x)|^2, the squared Frobenius norm of the encoder's Jacobian (Rifai et al. 2011a, "Contractive auto-encoders", eq. 1).

    Args:
        weight: float above 0. Defaults to 0.1.
        method: "closed_form", "batch_jacobian" or "hutchinson". Of an encoder of one dense layer with weights W and an
            activation a of each unit alone the first has |J|^2 = sum_j a_j'^2 |W_j|^2. The second is exact for any encoder, one
            pass backwards a code unit. The third estimates it without bias by |v'J|^2 of `samples` vectors v of N(0, I)
            (Hutchinson 1990), one pass backwards each. Defaults to "hutchinson".
        samples: int. Random vectors of "hutchinson". Defaults to 1.
    """

    term = "contractive_loss"

    def __init__(self, weight=0.1, method="hutchinson", samples=1, **kwargs):
        super().__init__(weight, method, samples, **kwargs)

    def __call__(self, model, x, z, random, training):
        return _total(ops.square(self.jacobian(model.encoder, x, self.probes(z, random), training)))


@_registered
class Curvature(_OfJacobian):
    """E_e |J(x) - J(x + e)|^2 with e of N(0, scale^2 I): about scale^2 times the squared norm of the encoder's Hessian (Rifai et
    al. 2011b, "Higher order contractive auto-encoder"). That paper's objective has `Contractive` beside it.

    Args:
        weight: float above 0. Defaults to 0.1.
        scale: float above 0. Standard deviation of the corruption e, of images in [0, 1]. Defaults to 0.1.
        corruptions: int. Corrupted images for every image. Defaults to 2.
        method, samples: as in `Contractive`.
    """

    term = "curvature_loss"

    def __init__(self, weight=0.1, scale=0.1, corruptions=2, method="hutchinson", samples=1, **kwargs):
        super().__init__(weight, method, samples, **kwargs)
        if not scale > 0:
            raise ValueError(f"scale is {scale!r}, expected a number above 0.")
        self.scale, self.corruptions = scale, whole(corruptions=corruptions)

    def __call__(self, model, x, z, random, training):
        probes = self.probes(z, random)
        here = self.jacobian(model.encoder, x, probes, training)
        total = 0.0
        for _ in range(self.corruptions):
            there = self.jacobian(model.encoder, x + self.scale * random.normal(ops.shape(x)), probes, training)
            total += _total(ops.square(here - there))
        return total / self.corruptions


@_registered
class CodeNorm(Regularizer):
    """|z|^2 / 2 of the codes (Ghosh et al. 2020, arXiv:1903.12436, eq. 11): the regularised autoencoder keeps its codes bounded.

    Args:
        weight: float above 0; the paper's beta. Defaults to 0.1.
    """

    term = "code_loss"

    def __init__(self, weight=0.1, **kwargs):
        super().__init__(weight, **kwargs)

    def __call__(self, model, x, z, random, training):
        return 0.5 * _total(ops.square(z))


@_registered
class DecoderDecay(Regularizer):
    """Sum of the squares of the decoder's weight matrices and kernels (RAE-L2, Ghosh et al. 2020, section 3.1, which
    counts biases too).

    Args:
        weight: float above 0; the paper's lambda. Defaults to 1e-3.
    """

    term = "decay_loss"

    def __init__(self, weight=1e-3, **kwargs):
        super().__init__(weight, **kwargs)

    def __call__(self, model, x, z, random, training):
        kernels = [v for v in model.decoder.trainable_variables if len(v.shape) > 1]
        return sum(ops.sum(ops.square(ops.cast(v, "float32"))) for v in kernels)


@_registered
class DecoderSlope(Regularizer):
    """|dD/dz|^2 at the codes, the squared Frobenius norm of the decoder's Jacobian (RAE-GP, Ghosh et al. 2020, section 3.1),
    estimated by |v'J|^2 of one vector v of N(0, I) the size of an image (Hutchinson 1990).

    Args:
        weight: float above 0; the paper's lambda. Defaults to 0.1.
    """

    term = "slope_loss"

    def __init__(self, weight=0.1, **kwargs):
        super().__init__(weight, **kwargs)

    def check(self, encoder, decoder):
        check_unmixed(decoder, "decoder")
        _check_alone(decoder, "decoder", type(self).__name__)

    def __call__(self, model, x, z, random, training):
        with tf.GradientTape() as tape:
            tape.watch(z)
            images = model.decoder(z, training=training)
            seen = tf.reduce_sum(images * random.normal(ops.shape(images)))
        return _total(ops.square(tape.gradient(seen, z)))


class Corruption(Part):
    """Base: what a denoising autoencoder's encoder sees instead of the images (Vincent et al. 2008, "Extracting and composing
    robust features with denoising autoencoders"; 2010, section 3.3)."""

    def __call__(self, x, random):
        """Corrupted images.

        Args:
            x: images in [0, 1].
            random: `randomness.Stream`.
        """
        raise NotImplementedError


class _OfPixels(Corruption):
    """Base of what changes some numbers of an image, each with the probability `share`."""

    def __init__(self, share=0.3, **kwargs):
        super().__init__(**kwargs)
        if not 0 < share < 1:
            raise ValueError(f"share is {share!r}, expected a share of the pixels between 0 and 1, such as 0.3.")
        self.share = share


@_registered
class GaussianNoise(Corruption):
    """Gaussian noise on every pixel and channel; the images may leave [0, 1].

    Args:
        scale: float above 0. Its standard deviation, of images in [0, 1]. Defaults to 0.2.
    """

    def __init__(self, scale=0.2, **kwargs):
        super().__init__(**kwargs)
        if not scale > 0:
            raise ValueError(f"scale is {scale!r}, expected a number above 0.")
        self.scale = scale

    def __call__(self, x, random):
        return x + self.scale * random.normal(ops.shape(x))


@_registered
class Masking(_OfPixels):
    """Pixels and channels become 0, each with the probability `share`.

    Args:
        share: float in (0, 1). Defaults to 0.3.
    """

    def __call__(self, x, random):
        return ops.where(random.uniform(ops.shape(x)) < self.share, 0.0, x)


@_registered
class SaltAndPepper(_OfPixels):
    """Pixels and channels become 0 or 1, each with the probability `share / 2`.

    Args:
        share: float in (0, 1). Defaults to 0.3.
    """

    def __call__(self, x, random):
        uniform = random.uniform(ops.shape(x))
        return ops.where(uniform < 0.5 * self.share, 0.0, ops.where(uniform < self.share, 1.0, x))


NAMED = {
    "sparse_kl": SparseKL,
    "sparse_l1": SparseL1,
    "contractive": Contractive,
    "curvature": Curvature,
    "code_norm": CodeNorm,
    "decoder_decay": DecoderDecay,
    "decoder_slope": DecoderSlope,
}
CORRUPTIONS = {"gaussian": GaussianNoise, "masking": Masking, "salt_and_pepper": SaltAndPepper}


def get(regularizers):
    """A list of `Regularizer`s: from a dict of weights by name, as `{"code_norm": 0.1}`, from one alone, or as it is.

    Raises:
        ValueError: an unknown name, or something else than a regularizer in the list.
    """
    if isinstance(regularizers, dict):
        unknown = sorted(set(regularizers) - set(NAMED))
        if unknown:
            raise ValueError(f"regularizers name {unknown[0]!r}, expected some of {', '.join(NAMED)}.")
        return [NAMED[name](weight) for name, weight in regularizers.items()]
    regularizers = [regularizers] if isinstance(regularizers, Regularizer) else regularizers or ()
    for each in regularizers:
        if not isinstance(each, Regularizer):
            raise ValueError(f"regularizers hold {each!r}, expected objects such as keras_genzoo.regularizers.CodeNorm(0.1).")
    return list(regularizers)


def get_corruption(corruption):
    """A `Corruption` by name, the one given, or None."""
    return None if corruption is None else named(corruption, CORRUPTIONS, Corruption, "corruption")
