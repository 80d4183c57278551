"""VAEs whose loss looks at the aggregate posterior, the codes of all images together."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.adversarial import LatentGame
from keras_genzoo.core.batches import count
from keras_genzoo.core.checks import whole_or_none
from keras_genzoo.models.vae import VAE


@keras.saving.register_keras_serializable("keras_genzoo")
class BetaTCVAE(VAE):
    """A VAE that asks for independent code units: the total correlation of the aggregate posterior weighs beta times as much
    (Chen et al. 2018, arXiv:1802.04942, eq. 4 with alpha = gamma = 1).

        loss = -E_q[log p(x|z)] + KL(q(z|x) || p(z)) + (beta - 1) * E[log q(z) - sum_j log q(z_j)]

    The aggregate posterior is estimated of a batch, on several replicas of all parts (`divergences.stratified_log_densities`).
    The estimate knows the size of the data set, which `fit` takes from arrays, from what `gz.data.load` gave, or from a data set
    that knows how many batches it has; `total_correlation` is printed in nats.

    Args:
        encoder, decoder: as in `VAE`.
        dataset_size: int or None. Number of training images; None leaves it to each `fit`. Defaults to None.
        beta: float. Weight of the total correlation; `beta_warmup` raises all but the reconstruction. Defaults to 4.
        **kwargs: as in `VAE`, without `posterior_flow` and `importance_samples`.

    Raises:
        ValueError: by `fit`, when the data set has no size, as an endless one, or a first batch of fewer than
            `divergences.LEAST_ROWS` images; by `train_on_batch` and `evaluate` before any `fit`, without `dataset_size`.
    """

    terms = ("reconstruction_loss", "kl_loss", "total_correlation")
    least_rows = divergences.LEAST_ROWS

    def __init__(self, encoder, decoder, dataset_size=None, beta=4.0, **kwargs):
        super().__init__(encoder, decoder, beta=beta, **kwargs)
        if self.posterior_flow is not None or self.importance_samples != 1:
            raise ValueError(
                f"posterior_flow is {self.posterior_flow!r} and importance_samples is {self.importance_samples}, expected None "
                f"and 1: the total correlation is that of Gaussian posteriors with one draw each."
            )
        self.dataset_size = dataset_size
        start = keras.initializers.Constant(float(whole_or_none(dataset_size=dataset_size) or 0))  # 0 while it is not known
        self._size = self.add_weight(shape=(), dtype="float32", initializer=start, trainable=False, name="dataset_size")

    def survey(self, first_batch, dataset):
        if self.dataset_size is None:
            size = count(dataset, self.images_of(first_batch))
            if size is None:
                raise ValueError(
                    "the number of training images is not known, as the data set is endless or a generator; give dataset_size="
                )
            self._size.assign(size)

    def check_surveyed(self):
        if not tf.convert_to_tensor(self._size) > 0:
            raise ValueError(
                "the number of training images is not known, as `fit` has not counted them yet; give dataset_size=, or call "
                "`fit` first."
            )

    def negative_elbo(self, x, random, beta, training, condition=None):
        terms = super().negative_elbo(x, random, 1.0, training, condition)
        rows = [divergences.gather(each) for each in (terms["codes"], *terms["outputs"])]
        joint, product = divergences.stratified_log_densities(*rows, self._size)
        terms["total_correlation"] = divergences.of_enough(ops.mean(joint - product), rows[0])
        excess = (self.beta - 1.0) * terms["total_correlation"]
        warm = beta / self.beta if self.beta else 1.0
        terms["loss"] = terms["reconstruction_loss"] + warm * (terms["kl_loss"] + excess)
        return terms


@keras.saving.register_keras_serializable("keras_genzoo")
class InfoVAE(VAE):
    """A VAE whose codes keep information of the image: a divergence of all codes together from the prior stands for a part of
    that of each image's (Zhao et al. 2017, arXiv:1706.02262).

        loss = -E_q[log p(x|z)] + (1 - alpha) * beta * KL(q(z|x) || p(z)) + (alpha + weight - 1) * divergence(q(z), p(z))

    alpha = 1 is the MMD-VAE. `fit` prints `divergence_loss`. With classes or vectors c the divergence is that of q(z, c) from
    p(z) q(c) (`divergences.given`).

    Args:
        encoder, decoder: as in `VAE`.
        divergence: name or `divergences.Divergence`, none that trains a critic. Defaults to "mmd".
        alpha: float up to 1. Share of the KL term that the divergence takes the place of. Defaults to 1.
        weight: float above 1 - alpha; the paper's lambda. Defaults to 1000.
        **kwargs: as in `VAE`.
    """

    terms = ("reconstruction_loss", "kl_loss", "divergence_loss")
    least_rows = divergences.LEAST_ROWS

    def __init__(self, encoder, decoder, divergence="mmd", alpha=1.0, weight=1000.0, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        if not alpha <= 1 or not alpha + weight > 1 or self.importance_samples != 1 or self._shared:
            raise ValueError(
                f"alpha is {alpha}, weight is {weight} and importance_samples is {self.importance_samples}, expected at most 1, "
                f"more than 1 - alpha, and 1; and a prior that needs no encoder."
            )
        self.divergence = divergences.get(divergence)
        if isinstance(self.divergence, LatentGame):
            raise ValueError("divergence is a LatentGame, whose critic has to be trained; use a WAE with a Gaussian encoder.")
        self.alpha, self.weight = alpha, weight

    def negative_elbo(self, x, random, beta, training, condition=None):
        terms = super().negative_elbo(x, random, beta * (1.0 - self.alpha), training, condition)
        divergence = self.divergence(*divergences.given(condition, terms["codes"], self.prior), random)
        terms["divergence_loss"] = divergences.of_enough(divergence, divergences.gather(terms["codes"]))
        terms["loss"] = terms["loss"] + (self.alpha + self.weight - 1.0) * terms["divergence_loss"]
        return terms
