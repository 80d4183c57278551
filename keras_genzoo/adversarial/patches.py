"""The game of patches, which sharpens the reconstructions of an autoencoder."""

import keras
from keras import ops

from keras_genzoo.adversarial.objectives import OBJECTIVES, Objective
from keras_genzoo.core import shares
from keras_genzoo.core.checks import input_shapes, output_shapes, real, whole
from keras_genzoo.core.serialization import Part, named
from keras_genzoo.core.tracking import added

LARGEST = 1e4  # of the adaptive weight, as in the published code
SMALL = 1e-4  # below the norm of a gradient that counts


@keras.saving.register_keras_serializable("keras_genzoo")
class PatchGame(Part):
    """A critic tells patches of images from patches of reconstructions, and the autoencoder learns to deceive it (PatchGAN, Isola
    et al. 2017, arXiv:1611.07004, section 3.2.2, in the autoencoders of VQGAN, Esser et al. 2021, arXiv:2012.09841, eq. 5 to 7).

        critic:       the mean over patches of the objective's critic loss for images x and reconstructions y
        autoencoder:  weight * lambda * the mean over patches of the objective's generator loss

        lambda = |grad reconstruction loss| / (|grad generator loss| + 1e-4)

    with the gradients by the kernel of the decoder's last layer, so that both losses pull at it with the same force. lambda is at
    most 10,000, as in the code that goes with the paper.

    Args:
        critic: keras.Model. Images `(batch, height, width, channels)` in [-1, 1] to a score of each patch, `(batch, rows,
            columns, 1)`, as `networks.patch_critic` makes it.
        objective: name or `Objective` of scores, without pairs. Defaults to "hinge".
        weight: float above 0. What the game counts beside the reconstruction. Defaults to 0.5.
        start: int. Steps of training before the game begins. Until then its loss is 0 for the autoencoder and for the critic.
            Defaults to 0.

    Raises:
        ValueError: a critic that puts out no map of scores; an objective of features or of pairs.

    Example:

    >>> game = gz.adversarial.PatchGame(gz.networks.patch_critic((28, 28, 1), width=8, depth=1), start=1000)
    """

    def __init__(self, critic, objective="hinge", weight=0.5, start=0, **kwargs):
        super().__init__(**kwargs)
        self.critic = critic
        self.objective = named(objective, OBJECTIVES, Objective, "objective")
        self.weight, self.start = real(above=0, weight=weight), whole(0, start=start)
        shape = output_shapes(critic, "the critic of patches")[0]
        if len(shape) != 3 or shape[-1] != 1:
            raise ValueError(
                f"the critic of patches puts out shape {shape}, expected (rows, columns, 1), a score of each patch; see "
                f"networks.patch_critic."
            )
        if self.objective.features or self.objective.pairs:
            raise ValueError(f"objective is {type(self.objective).__name__}, expected one of scores, without pairs, as 'hinge'.")

    def check(self, image_shape):
        """Raise one sentence unless the critic takes images of this shape."""
        taken = input_shapes(self.critic, "the critic of patches")
        if taken != [tuple(image_shape)]:
            raise ValueError(f"the critic of patches takes {taken}, expected images of shape {tuple(image_shape)} alone.")

    def scores(self, x, training):
        """The scores of all patches of images in [0, 1], `(batch * rows * columns, 1)`."""
        return ops.reshape(self.critic(2.0 * x - 1.0, training=training), (-1, 1))

    def share(self, seen):
        """Whether the game has begun, 0 or 1, float32.

        Args:
            seen: int64 `(2,)`. Images and steps of training so far.
        """
        return ops.cast(seen[1] >= self.start, "float32")

    def generator_loss(self, x, y, training):
        """What the autoencoder minimises, without its weights, a scalar; x are images and y reconstructions, in [0, 1]."""
        real_scores = self.scores(x, training) if self.objective.relative else None
        return ops.mean(self.objective.generator_loss(real_scores, self.scores(y, training)))

    def critic_terms(self, x, y, share, training):
        """The critic's loss, and what `settle` needs; arguments as of `generator_loss`, and `share` as that gives it."""
        outputs, more = zip(*((self.scores(each, training), added(self.critic)) for each in (x, y)), strict=True)
        loss = share * ops.mean(self.objective.critic_loss(*outputs))
        return {"loss": loss, "outputs": outputs, "added": {"game": sum(more) / 2}}

    def settle(self, outputs):
        """What an objective does after a step of the critic."""
        self.objective.constrain(self.critic.trainable_variables)
        self.objective.update(*outputs)

    def balance(self, tape, reconstruction, adversarial, kernel):
        """lambda, a scalar without a gradient, of the whole batch on several replicas.

        Args:
            tape: persistent `tf.GradientTape` that has seen both losses.
            reconstruction, adversarial: losses, scalars.
            kernel: variable that both depend on.
        """

        def size(loss):
            own = shares.weight() * ops.cast(tape.gradient(loss, kernel), "float32")
            return ops.sqrt(ops.sum(ops.square(ops.sum(shares.gather(own[None]), axis=0))))

        return ops.stop_gradient(ops.clip(size(reconstruction) / (size(adversarial) + SMALL), 0.0, LARGEST))
