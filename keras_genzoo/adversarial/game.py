"""The game between an encoder and a critic of codes."""

import keras
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.adversarial.objectives import OBJECTIVES, Objective
from keras_genzoo.core.checks import output_shapes
from keras_genzoo.core.serialization import named
from keras_genzoo.core.tracking import added

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class LatentGame(divergences.Divergence):
    """A critic tells codes from draws from the prior, and the encoder learns to deceive it (WAE-GAN, Tolstikhin et al. 2018,
    arXiv:1711.01558, algorithm 1; the adversarial autoencoder, Makhzani et al. 2016, arXiv:1511.05644). What it returns is the
    encoder's loss, no distance.

    Args:
        critic: keras.Model. Codes `(batch, latent_dim)` to a score `(batch, 1)`, or to features where the objective takes these.
        objective: name or `Objective` that needs no pairs. Defaults to "non_saturating".
    """

    def __init__(self, critic, objective="non_saturating", **kwargs):
        super().__init__(**kwargs)
        self.critic = critic
        self.objective = named(objective, OBJECTIVES, Objective, "objective")
        units = output_shapes(critic, "the critic of codes")[0][-1]
        if self.objective.pairs or (units != 1 and not self.objective.features):
            raise ValueError(
                f"objective is {type(self.objective).__name__} and the critic of codes puts out {units} units, expected an "
                f"objective without pairs, and 1 unit unless it takes features."
            )

    def outputs(self, z, prior, random, training):
        """The critic's outputs for draws from the prior and for codes."""
        return self.scored(z, prior, random, training)[0]

    def scored(self, z, prior, random, training):
        """`outputs`, and the mean of what the critic's layers add to its loss in both calls (`add_loss`)."""
        both = prior.sample(ops.shape(z)[0], random), z
        outputs, more = zip(*((self.critic(each, training=training), added(self.critic)) for each in both), strict=True)
        return outputs, sum(more) / 2

    def __call__(self, z, prior, random):
        return ops.mean(self.objective.generator_loss(*self.outputs(z, prior, random, False)))
