"""What models with codes share: random codes of an encoder, and a density that is fitted after training, from which `sample` then
draws."""

import numpy as np
from keras import ops

from keras_genzoo.core.batches import by_row, class_numbers
from keras_genzoo.core.checks import check_output, check_posterior, output_shapes
from keras_genzoo.core.conditions import beside, parted
from keras_genzoo.core.draws import draw_rows
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.randomness import KeyStream

CODES = 4  # of `noise_key`: what the noise is for


class Coded:
    """Mixin of a `GenerativeModel` with an encoder: `fit_prior` (ex-post density estimation, Ghosh et al. 2020, section 4).

    A family writes `encoded(x, random, training, condition)`, or `codes_of(x, random, condition)`, the codes that its decoder was
    trained on, and draws from `sampling_prior`. It takes the density as its argument `fitted_prior`, or says by `density` where
    it is. A density of a conditional model that `knows_conditions` is fitted, and drawn from, by the condition too.
    """

    # Methods: Keras saves a part under the first attribute that holds it, were it a property.
    def density(self):
        """The density that `fit_prior` fits, or None."""
        return self.fitted_prior

    def sampling_prior(self):
        """The density that `sample` draws codes from: the fitted one, or else the model's own prior."""
        return self.density() if getattr(self.density(), "fitted", False) else self.prior

    def drawn_codes(self, n, random, condition=None):
        """n codes of the prior that `sample` draws from, by the condition where that knows of conditions."""
        prior = self.sampling_prior()
        return prior.sample(n, random, **({"condition": condition} if getattr(prior, "knows_conditions", False) else {}))

    @available_if(lambda self: hasattr(self.density(), "fit"), "it was built without a density to fit to its codes")
    def fit_prior(self, dataset, kind="mixture", seed=0, images=20_000):
        """Fit a density to the codes of a data set: a mixture, or what the model was built with. `sample` then draws from it.

        The codes are those that the decoder has been trained on: of a random encoder one draw from q(z|x) an image. The density
        then follows the aggregate posterior q(z) = E_x[q(z|x)], of a conditional model that of each condition. `log_prob` stays
        what it was, that of the model with its own prior. A further step of training makes the fit out of date and clears it: fit
        again.

        Args:
            dataset: images, `(images, labels)`, or a data set of batches, as `fit` takes them.
            kind: "mixture", of which held-out codes choose the number of components, or "gaussian", with one. Densities that
                learn (`priors.FlowPrior`, `priors.TwoStagePrior`) do so with the former, and with "gaussian" take the codes' mean
                and deviation alone. Defaults to "mixture".
            seed: int. Of the draw of images and codes, and of the fit. Defaults to 0.
            images: int. Number of images at most, drawn from all over the data set. Defaults to 20,000.

        Returns:
            dict of the `components`, their `kind`, and the mean log densities of codes in nats, `log_prob` of those that the
            density was fitted to and `held_out_log_prob`.

        Raises:
            ValueError: an unknown kind; images that the model does not take; no images, or none of the labels or vectors that a
                conditional model needs.

        Example:

        >>> fitted = gz.build("vae", image_shape=(28, 28, 1), latent_dim=4, width=16).fit_prior(images)
        >>> sorted(fitted)
        ['components', 'held_out_log_prob', 'kind', 'log_prob']
        """
        if kind not in ("gaussian", "mixture"):
            raise ValueError(f"kind is {kind!r}, expected 'gaussian' or 'mixture'.")
        codes, told, start = [], [], 0
        for batch, known in draw_rows(dataset, images, seed):
            if "labels" in known:
                known["labels"] = class_numbers(known["labels"])
            condition = self.told(**by_row(self, known, ()))
            rows = batch if condition is None else (batch, condition)
            # Compiled where there are several; one is computed before it would be compiled.
            compiled = start > 0 and not self.run_eagerly
            codes.append(np.asarray(self._run(type(self)._codes, rows, start, {"seed": seed}, compiled=compiled)))
            told.append(None if condition is None else np.asarray(condition))
            start += len(batch)
        codes = np.concatenate(codes)
        settings = {"components": 1 if kind == "gaussian" else None, "seed": seed}
        if getattr(self.density(), "knows_conditions", False):
            settings["condition"] = np.concatenate(told)
        return self.density().fit(codes.reshape(len(codes), -1), **settings)

    @inference
    def _codes(self, rows, seed):
        x, condition = parted(rows)
        return self.codes_of(self.images_of(x), KeyStream(self.noise_key(seed, CODES)), condition)

    def codes_of(self, x, random, condition=None):
        """The codes of images in [0, 1] that the decoder is trained on, with the noise of `random`."""
        return self.encoded(x, random, False, condition)

    def minimize(self, *args, **kwargs):
        terms = super().minimize(*args, **kwargs)
        self._clear()
        return terms

    def make_train_function(self, force=False):
        # Keras calls it before callbacks hear that a training begins, which may ask whether the model can sample.
        self._clear()
        return super().make_train_function(force=force)

    def _clear(self):
        """Codes move as the encoder learns: what was fitted to them is out of date."""
        if hasattr(self.density(), "forget"):
            self.density().forget()


class GaussianCodes:
    """Mixin of an `Autoencoder` whose encoder is deterministic, or Gaussian where it puts out the pair `(mu, log_variance)` of
    q(z|x) = N(mu, sigma^2)."""

    def check_encoder(self, code):
        self.gaussian = len(output_shapes(self.encoder, "encoder")) > 1  # whether it puts out a mean and a log-variance
        if self.gaussian:
            check_posterior(self.encoder, "encoder", code)
        else:
            check_output(self.encoder, "encoder", code)

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to codes, of a Gaussian encoder to their means, `(batch, ...)` as the decoder takes them; of a conditional model
        by their labels and vectors."""
        x = self.images_of(x)
        outputs = self.encoder(beside(x, self.told(labels, conditions)), training=False)
        return outputs[0] if self.gaussian else outputs

    def encoding(self, x, random, training, condition=None):
        outputs = self.encoder(beside(x, condition), training=training)
        if not self.gaussian:
            return {"codes": outputs}
        mu, log_variance = outputs
        return {"codes": mu + ops.exp(0.5 * log_variance) * random.normal(ops.shape(mu)), "outputs": outputs}
