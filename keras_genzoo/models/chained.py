"""What models of energies share: images come by Markov chains."""

import tensorflow as tf

from keras_genzoo import chains
from keras_genzoo.core import randomness
from keras_genzoo.core.model import GenerativeModel


class Chained(GenerativeModel):
    """What models of energies share: the report of the chains that `sample` runs.

    A family defines `sampler`, a chain of `samplers`, `sample_steps`, `chain_energy`, and `start`, the beginning of chains.
    """

    keyed = True

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the energy for an image unless told otherwise."""
        return self.sampler.evaluations(self.sample_steps)

    def chain_report(self, n=64, seed=0):
        """What the chains of `sample` are worth.

        Args:
            n: int. Number of chains. Defaults to 64.
            seed: int. Defaults to 0.

        Returns:
            dict: `chain_steps`, those of `sample`; `chain_ess`, to how many independent draws the energies of one chain amount
            in as many further steps (`chains.effective_sample_size`); `chain_acceptance` where the chain refuses steps.
        """
        x = self.start(self.draw_latents(n, randomness.RowStream(seed, 0)))

        @tf.function
        def run(x, key):
            with self.averaged_weights():
                watch = self.energy_of_chains(n, seed)
                x, _, _ = chains.loop(self.sampler, watch, x, self.sample_steps, randomness.fold(key, 0))
                return chains.loop(self._settled, watch, x, max(self.sample_steps, 4), randomness.fold(key, 1), watch)[1:]

        acceptance, energies = run(x, randomness.make_key(seed))
        report = {"chain_steps": self.sample_steps, "chain_ess": chains.effective_sample_size(energies) / n}
        return {**report, "chain_acceptance": float(acceptance)} if self.sampler.rejects else report

    def energy_of_chains(self, n, seed):
        """The energy of n chains as a function of their images; of a model that is told vectors by those of `sample(n, seed)`."""
        return self.chain_energy

    @property
    def _settled(self):
        """The chain when its annealing is over."""
        return self.sampler
