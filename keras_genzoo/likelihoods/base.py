"""What every likelihood has, and that of binary images."""

import keras
from keras import ops

from keras_genzoo.core import images
from keras_genzoo.core.serialization import Part

LOG_SCALE_BOUND = 7.0  # of a learned logarithm of a scale: e^-7 is a quarter of a level


def summed(values):
    """The sum over all axes but the first."""
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


class Likelihood(Part):
    """Base: a continuous density around the decoder's output, with one parameter a channel, the mean."""

    support = "continuous"
    parameters_per_channel = 1

    def parameter_count(self, channels):
        """Number of parameters of a pixel of so many channels."""
        return channels * self.parameters_per_channel

    def log_prob(self, x, parameters):
        """Nats per image, `(batch,)`."""
        raise NotImplementedError

    def training_log_prob(self, x, parameters, log_ratio=None):
        """What training maximises; `log_prob` unless the likelihood fits something of its own to the batch.

        Args:
            x, parameters: as in `log_prob`. Where each image has k draws, these are rows one below another.
            log_ratio: `(images, k)` or None. What multiplies p(x|z_i) in the importance weight of each draw, as a logarithm;
                None where there is one draw an image. Defaults to None.
        """
        return self.log_prob(x, parameters)

    def mean(self, parameters):
        """The mean image, in [0, 1]."""
        return images.from_cube(parameters)


@keras.saving.register_keras_serializable("keras_genzoo")
class Bernoulli(Likelihood):
    """Each channel is 1 with probability sigmoid(parameters). A likelihood of binary images; gray ones train it all the same."""

    support = "binary"

    def log_prob(self, x, parameters):
        return summed(x * parameters - ops.softplus(parameters))

    def mean(self, parameters):
        return ops.sigmoid(parameters)
