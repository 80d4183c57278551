"""The smallest family that needs all of base: two optimizers, labels, noise in training, averaged weights."""

import keras
from keras import ops

from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.model import GenerativeModel


@keras.saving.register_keras_serializable("tests")
class Toy(GenerativeModel):
    """A conditional denoising autoencoder beside a classifier that is trained apart."""

    terms = ("reconstruction_loss", "classifier_loss")
    diagnostics = ("noise_level",)
    optimizers = {"optimizer": ("encoder", "decoder"), "critic_optimizer": ("classifier",)}
    averaged = ("encoder", "decoder")
    conditional = True

    def __init__(self, encoder, decoder, classifier, noise=0.1, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder, self.classifier, self.noise = encoder, decoder, classifier, noise

    @inference
    def call(self, x):
        return ops.clip(self.decoder(self.encoder(self.images_of(x))), 0, 1)

    def draw_latents(self, n, random):
        return random.normal((n, self.encoder.output_shape[-1]))

    @batched
    def decode(self, z):
        return ops.clip(self.decoder(z), 0, 1)

    def reconstruction(self, x, random):
        noisy = x + self.noise * random.normal(ops.shape(x))
        loss = ops.sum(ops.square(self.decoder(self.encoder(noisy)) - x), axis=(1, 2, 3))
        return {"loss": loss, "reconstruction_loss": loss}

    def classification(self, x, labels):
        return {"loss": keras.losses.sparse_categorical_crossentropy(labels, self.classifier(x), from_logits=True)}

    def train_step(self, data):
        x, labels = self.images_of(data), self.labels_of(data)
        terms = self.minimize(lambda: self.reconstruction(x, self.random), self.optimizers["optimizer"], self.optimizer)
        critic = self.minimize(lambda: self.classification(x, labels), ("classifier",), self.critic_optimizer)
        return self.track({**terms, "classifier_loss": critic["loss"], "noise_level": self.noise})

    def test_step(self, data):
        x, labels = self.images_of(data), self.labels_of(data)
        terms = self.measure(lambda: self.reconstruction(x, self.random_test), ("encoder", "decoder"))
        critic = self.measure(lambda: self.classification(x, labels), ("classifier",))
        return self.track({**terms, "classifier_loss": critic["loss"]})


def build_toy(image_shape, dtype=None, ema=0.9, seed=0, **execution):
    """The toy, compiled."""
    from keras_genzoo.networks import mlp
    from keras_genzoo.recipes.building import policy

    with policy(dtype):
        networks = {
            "encoder": mlp(image_shape, 4, width=16, depth=1, activation="tanh", name="encoder"),
            "decoder": mlp(4, image_shape, width=16, depth=1, activation="tanh", name="decoder"),
            "classifier": mlp(image_shape, 3, width=8, depth=1, heads=("logits",), name="classifier"),
        }
        model = Toy(**networks, ema=ema, seed=seed)
    model.compile(critic_optimizer=keras.optimizers.SGD(0.01, momentum=0.9), **execution)
    return model
