"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661): one step for every objective and penalty."""

import keras
from keras import ops

from keras_genzoo import adversarial
from keras_genzoo.augmentation import AdaptiveChance, augment, chance_at, check_chance, check_kinds, view
from keras_genzoo.core.batches import TOLD, extra, with_told
from keras_genzoo.core.checks import check_output, check_told, input_shapes, whole
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.optimizers import step_every
from keras_genzoo.core.tracking import added
from keras_genzoo.models.projecting import Projecting
from keras_genzoo.regularizers import check_unmixed


@keras.saving.register_keras_serializable("keras_genzoo")
class GAN(Projecting, Conditional, GenerativeModel):
    """A generator makes images of noise, and a critic learns to tell them from real ones.

    In every step the critic makes `critic_steps` steps, each against a generated batch of its own, and then the generator
    one, each with its own optimizer:

        critic:     objective.critic_loss(D(x), D(G(z))) + penalties
        generator:  objective.generator_loss(D(x), D(G(z)))

    with D of augmented images where `augment` is given. None of the losses tells whether the samples get better; look at
    `real_score` and `fake_score` (probabilities where the objective has them), `diversity` (the mean absolute difference of
    two samples' pixels, in [0, 1], of one class where there are classes: it falls towards 0 in a collapse; `val_diversity` is
    always of the same noise), at the samples and at `val_fd` of `callbacks.FrechetDistanceMonitor`.
    docs/families/gans.md shows what they look like.

    Args:
        generator: keras.Model. Noise `(batch, latent_dim)` to images `(batch, height, width, channels)` in [-1, 1]; of a
            conditional model the pair of noise and the condition, one-hot labels `(batch, classes)` and vectors behind them.
        critic: keras.Model. Images in [-1, 1], of a conditional model with the condition, to one score `(batch, 1)`, or to
            features `(batch, units)` where the objective takes these.
        objective: name or `adversarial.Objective`. Defaults to "non_saturating".
        penalties: names or `adversarial.Penalty`s, terms of the critic's loss, of a critic without batch normalisation. Those
            with `every` above 1 get steps of their own. Defaults to none.
        critic_steps: int. Steps of the critic before each of the generator. Each sees real images of its own where batches
            have `further` ones, as `gz.data.load(..., **model.data_needs)` gives them (algorithm 1 of WGAN, Arjovsky et al.
            2017, arXiv:1701.07875); of other batches all see the same. 0 leaves the critic as it
            is, without an optimizer: features for an objective of these, such as "polyharmonic" on the pixels themselves, by a
            critic that is a `keras.layers.Flatten`. Defaults to 1.
        augment: names of `augmentation.AUGMENTATIONS`, or pairs of such a name and a share of the chance, applied to all that the
            critic sees (Zhao et al. 2020). Defaults to none.
        augment_chance: float in [0, 1], `ramps.Ramp`, `augmentation.AdaptiveChance` or its name, "adaptive". The chance of each
            augmentation. Defaults to 1.
        **kwargs: `num_classes`, `condition_dim`, what the networks are told; without them a second input is of one-hot labels;
            `seed`, `ema` (of the generator), `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("gan", image_shape=(28, 28, 1))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(16, seed=0).shape
    (16, 28, 28, 1)
    """

    terms = ("critic_loss", "real_score", "fake_score", "diversity")
    monitor = None
    rising = ("diversity",)
    averaged = ("generator",)
    data_spared = ("further",)

    def __init__(
        self,
        generator,
        critic,
        objective="non_saturating",
        penalties=(),
        critic_steps=1,
        augment=(),
        augment_chance=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        critic_steps = whole(0, critic_steps=critic_steps)
        self.generator = generator
        self.critic = critic
        self.objective = adversarial.get_objective(objective)
        penalties = [penalties] if isinstance(penalties, (str, adversarial.Penalty)) else penalties or ()
        self.penalties = [adversarial.get_penalty(each) for each in penalties]
        if self.penalties:
            check_unmixed(critic, "critic")
        self.critic_steps = critic_steps
        if not critic_steps and (self.penalties or not self.objective.features):
            raise ValueError(
                f"critic_steps is 0, expected at least 1 for the objective {type(self.objective).__name__} with "
                f"{len(self.penalties)} penalties: a critic that does not learn is for objectives of features, such as "
                f"'polyharmonic', without penalties."
            )
        self.augment, self.augment_chance = check_kinds(augment), check_chance(augment_chance)
        check_output(critic, "critic", (None if self.objective.features else 1,))
        check_output(generator, "generator", self.image_shape)
        inputs, count = input_shapes(generator, "generator"), len(input_shapes(critic, "critic"))
        self.latent_dim = inputs[0][0]
        if len(inputs) == 2 and not self.condition_units:
            self.num_classes = inputs[1][0]
        if count != len(inputs):
            raise ValueError(
                f"the generator has {len(inputs)} inputs and the critic {count}: expected labels into both or into neither."
            )
        for each, name in ((generator, "generator"), (critic, "critic")):
            check_told(each, name, self.condition_units)

    @property
    def diagnostics(self):
        """What training alone reports, the chance of augmentation included where it changes."""
        moves = not isinstance(self.augment_chance, float)
        return ("penalty_loss", "generator_gradient_norm", *(("augment_chance",) if moves else ()))

    @property
    def optimizers(self):
        critic = {"critic_optimizer": ("critic",)} if self.critic_steps else {}
        return {"optimizer": ("generator",), **critic}

    @property
    def image_shape(self):
        return input_shapes(self.critic, "critic")[0]

    @property
    def data_needs(self):
        """Labels of a conditional model; and real images for each step of the critic, so batches that many times as large."""
        return {**super().data_needs, **({"further": self.critic_steps - 1} if self.critic_steps > 1 else {})}

    # What sampling needs

    def draw_latents(self, n, random):
        """n times standard normal noise, `(n, latent_dim)`."""
        return random.normal((n, self.latent_dim))

    def pictures(self, z):
        """Images in [0, 1] that are not clipped yet; arguments as of `decode`."""
        return 0.5 * (self.generator(z, training=False) + 1.0)

    @batched
    def decode(self, z):
        """Noise, of a conditional model with the condition, to images in [0, 1]."""
        return ops.clip(self.pictures(z), 0.0, 1.0)

    def images_from(self, z, condition=None):
        """Noise, and the condition if there is one, to images in [0, 1]."""
        return self.decode(self._with_labels(z, condition))

    @inference
    def call(self, x):
        """Scores of images by the critic, `(batch, units)`; of a conditional model, of a batch, as `(images, labels)`."""
        return self.critic(self._with_labels(*self._real(x)), training=False)

    # Training

    def _real(self, data):
        return 2.0 * self.images_of(data) - 1.0, self.condition_of(data)

    def _sets(self, data):
        """Real images, and conditions, for each step of the critic; taken in turns where there are fewer than steps."""
        sets, more = [self._real(data)], extra(data, "further") if self.critic_steps > 1 else None
        if more is not None:
            if tuple(more.shape[2:]) != self.image_shape:
                raise ValueError(f"`further` has shape {tuple(more.shape)}, expected (batch, images, *{self.image_shape}).")
            told = {name: extra(data, f"further_{name}") for name in TOLD if self._takes(name)}
            for name, rows in told.items():
                if rows is None:
                    raise ValueError(f"batches have `further` images without `further_{name}`; load the data with {name}=True.")
            for index in range(more.shape[1]):
                sets.append(self._real(with_told(more[:, index], {name: rows[:, index] for name, rows in told.items()})))
        return [sets[step % len(sets)] for step in range(max(1, self.critic_steps))]

    def _chance(self):
        return chance_at(self.augment_chance, self._place.now())

    @staticmethod
    def _with_labels(x, labels):
        return x if labels is None else (x, labels)

    def generated(self, n, labels, random, training):
        return self.generator(self._with_labels(random.normal((n, self.latent_dim)), labels), training=training)

    def _fakes(self, n, labels, random, training):
        return [self.generated(n, labels, random, training) for _ in range(1 + self.objective.pairs)]

    def critic_terms(self, real, labels, fakes, random, training):
        """The critic's loss and what to watch; `fakes` are one generated batch, or two for objectives with `pairs`."""
        chance = self._chance()
        views, shown = self._shown((real, *fakes), random, chance)
        outputs, more = zip(*((self._score(images, labels, training), added(self.critic)) for images in shown), strict=True)
        objective = self.objective.critic_loss(*outputs)
        own, penalty = [each for each in self.penalties if each.every == 1], 0.0
        if training and own:
            score = lambda x: self.objective.witness(self._score(x, labels, training), *outputs)  # noqa: E731
            penalty = sum(ops.mean(self._penalty(each, score, (real, fakes[0]), shown, views, random)) for each in own)
        scores = [self.objective.witness(each, *outputs) for each in outputs[:2]]
        if self.objective.probability:
            scores = [ops.sigmoid(each) for each in scores]
        return {
            "loss": ops.mean(objective) + penalty,
            "critic_loss": objective,
            **({"penalty_loss": penalty, "augment_chance": chance} if training else {}),
            "real_score": scores[0],
            "fake_score": scores[1],
            "outputs": outputs,
            "added": {"critic": sum(more) / len(more)},
        }

    def _shown(self, images, random, chance):
        """A draw of augmentations for each of several batches, and what they make of it."""
        views = [view(self.augment, random, chance) for _ in images]
        return views, [look(each) for look, each in zip(views, images, strict=True)]

    def _lazily(self, real, labels, fakes):
        """The steps of the penalties that come in some steps alone; the mean of what they add over all steps, a scalar."""
        total = 0.0
        for every in sorted({each.every for each in self.penalties} - {1}):
            penalties = [each for each in self.penalties if each.every == every]

            def loss_of(penalties=penalties):
                views, shown = self._shown((real, *fakes), self.random, self._chance())
                # Of one score the witness is the score itself, whatever the others are.
                outputs = [self._score(each, labels, True) for each in shown] if self.objective.features else (None, None)
                score = lambda x: self.objective.witness(self._score(x, labels, True), *outputs)  # noqa: E731
                terms = [self._penalty(each, score, (real, fakes[0]), shown, views, self.random) for each in penalties]
                return sum(map(ops.mean, terms)), 0.0

            total = total + step_every(self, every, loss_of, ("critic",), self.critic_optimizer)[1]
        return total

    @staticmethod
    def _penalty(penalty, score, images, shown, views, random):
        if penalty.before is None:
            return penalty(score, *shown[:2], random)
        look = views[("real", "fake").index(penalty.before)]
        return penalty(lambda x: score(look(x)), *images, random)

    def _score(self, images, labels, training):
        # Penalties may ask for real and generated images at once.
        if labels is not None:
            labels = ops.tile(labels, (ops.shape(images)[0] // ops.shape(labels)[0], 1))
        # A critic that does not learn computes as it does at inference.
        return self.critic(self._with_labels(images, labels), training=training and self.critic_steps > 0)

    def generator_terms(self, real, labels, random, training):
        fakes = self._fakes(ops.shape(real)[0], labels, random, training)
        shown = lambda images: augment(images, self.augment, random, self._chance())  # noqa: E731
        outputs = [self._score(shown(images), labels, training) for images in fakes]
        real_outputs = self._score(shown(real), labels, training) if self.objective.relative else None
        classes = None if self.num_classes is None else labels[:, : self.num_classes]
        return {"loss": self.objective.generator_loss(real_outputs, *outputs), "diversity": _differences(fakes[0], classes)}

    def train_step(self, data):
        sets = self._sets(data)
        real, labels = sets[0]
        n = ops.shape(real)[0]
        for penalty in self.penalties:
            penalty.tell(self._place.now())
        for own in sets[: self.critic_steps]:
            fakes = self._fakes(n, own[1], self.random, training=True)
            critic = self.minimize(
                lambda own=own, fakes=fakes: self.critic_terms(*own, fakes, self.random, training=True),
                ("critic",),
                self.critic_optimizer,
            )
            critic["penalty_loss"] = critic["penalty_loss"] + self._lazily(*own, fakes)
            self.objective.constrain(self.critic.trainable_variables)
            self.objective.update(*critic["outputs"][:2])
            if isinstance(self.augment_chance, AdaptiveChance):
                self.augment_chance.update(self.objective.witness(critic["outputs"][0], *critic["outputs"]))
        if not self.critic_steps:
            fakes = self._fakes(n, labels, self.random, training=True)
            critic = self.critic_terms(real, labels, fakes, self.random, training=True)
        more = self.smoothness_terms(n)
        generator = self.minimize(
            lambda: self.generator_terms(real, labels, self.random, training=True), self.optimizers["optimizer"], self.optimizer
        )
        return self.track({**critic, **generator, **more})

    def smoothness_terms(self, n):
        """What a step of the generator for itself, before its own one, has to report: none here."""
        return {}

    def test_step(self, data):
        real, labels = self._real(data)
        random = self.random_test

        def critic_terms():
            fakes = self._fakes(ops.shape(real)[0], labels, random, training=False)
            return self.critic_terms(real, labels, fakes, random, training=False)

        networks = self.optimizers["optimizer"]
        generator = self.measure(lambda: self.generator_terms(real, labels, random, training=False), networks)
        return self.track({**self.measure(critic_terms, ("critic",)), **generator})


def _differences(images, labels):
    """Mean absolute difference of each image in [-1, 1] from the next one, of the same class where there are classes, `(batch,)`
    in [0, 1]. An image alone in its class gets the mean of the others; there are no numbers where all are alone."""
    n = ops.shape(images)[0]
    place = ops.arange(n)
    ahead = ops.mod(place[None, :] - place[:, None], n)  # how far the one is behind the other, around the batch
    alike = ahead > 0 if labels is None else ops.logical_and(ahead > 0, ops.matmul(labels, ops.transpose(labels)) > 0.5)
    ahead = ops.where(alike, ahead, n)
    paired = ops.min(ahead, axis=1) < n
    other = ops.take(images, ops.argmin(ahead, axis=1), axis=0)
    different = ops.mean(ops.abs(images - other), axis=(1, 2, 3)) / 2.0
    count = ops.sum(ops.cast(paired, "float32"))
    mean = ops.sum(ops.where(paired, different, 0.0)) / ops.maximum(count, 1.0)
    return ops.where(paired, different, mean)[: ops.where(count > 0, n, 0)]
