"""The rows that are measured, by table."""

import dataclasses
import functools
from collections.abc import Callable

from benchmarks.speed import measures

PLAIN = {"ema": None}
CODED = {"encoder": "encoder", "decoder": "decoder"}
GAME = {"generator": "generator", "critic": "critic"}
UNET = {"width": 16, "multipliers": (1, 2, 4), "patch": 1}
CHANNELS = {"channels": (16, 32, 64), "tolerance": 0.01}
GLOW = {"levels": 2, "steps": 4, "width": 64, "marginals": False, "dequantisation": 0, "dense": 0, "alpha": 0.05}
LIKE_GLOW = {"steps_of_level": 4, "width": 64, "tolerance": 0.01}
SPLINES = {"couplings": 4, "bins": 8, "width": 256, "depth": 2}
LANGEVIN = {"chain_steps": 10, "step_size": 10.0, "noise": 0.005, "clip": 0.03, "buffer_size": 2560, "restart": 0.1}
LANGEVIN |= {"data_noise": 0.03, "energy_weight": 0.1, "gradient_norm": 1.0}
FAMILIES = ("dense_autoencoder", "vae", "wae_mmd", "gan", "glow", "latent_diffusion", "flow_matching", "ebm", "rbm")
# Recipes with a loss that tells how well they train: steps of a training, and of a round.
PRECISE = (
    ("dense_autoencoder", 1000, 300),
    ("autoencoder", 500, 50),
    ("vae", 1000, 300),
    ("wae_mmd", 1000, 300),
    ("glow", 200, 20),
    ("latent_diffusion", 1000, 300),
    ("flow_matching", 300, 30),
    ("ddpm", 300, 30),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: str. The table's and its own, as "training/vae".
        title: str.
        measure: function of `measures.Settings` to a dict of columns.
        about: str. What the peer is, where the title does not say it.
        most: int or None. Rounds at most, of what takes long.
    """

    name: str
    title: str
    measure: Callable
    about: str = ""
    most: int | None = None

    @property
    def table(self):
        return self.name.partition("/")[0]


def _row(name, title, measure, about="", most=None, **told):
    return Row(name, title, functools.partial(measure, **told), about, most)


def _training(name, title, recipe, peer, networks, steps, about="", **told):
    told = {"overrides": PLAIN, **told}
    return _row(
        f"training/{name}", title, measures.training, about, recipe=recipe, peer=peer, networks=networks, steps=steps, **told
    )


def trainings():
    """Training beside PyTorch, eager and compiled."""
    yield _training("dense_autoencoder", "dense autoencoder", "dense_autoencoder", "plain.autoencoder", CODED, 500)
    yield _training("autoencoder", "convolutional autoencoder", "autoencoder", "plain.autoencoder", CODED, 100)
    yield _training("vae", "VAE", "vae", "plain.vae", CODED, 500)
    told = {"told": ("weight",), "third": "libraries.pythae_wae"}
    yield _training("wae_mmd", "WAE-MMD", "wae_mmd", "plain.wae_mmd", CODED, 300, "pythae runs eager, with our networks.", **told)
    yield _training("dcgan", "DCGAN", "dcgan", "plain.gan", GAME, 100, batch_size=64)
    about = "PyTorch does not compile second derivatives, so the critic's loss stays eager in the compiled column."
    told = {"more": {"penalty_weight": 10.0}, "batch_size": 64}
    yield _training("wgan_gp", "WGAN-GP", "wgan_gp", "plain.wgan_gp", GAME, 15, about, **told)
    about = "diffusers' UNet2D of as many parameters within 1 %; its blocks have the same widths."
    told = {"overrides": PLAIN | UNET, "batch_size": 64, "tolerance": 0.01, "more": CHANNELS}
    yield _training("ddpm", "U-Net of DDPM", "ddpm", "libraries.diffusers_training", {}, 15, about, **told)
    told = {"overrides": PLAIN | GLOW | {"clipnorm": None}, "batch_size": 64, "more": LIKE_GLOW}
    about = "normflows' Glow of as many levels, steps and channels; parameters equal within 1 %."
    yield _training("glow", "Glow", "glow", "libraries.normflows_training", {}, 40, about, **told)
    about = "zuko's couplings with equal networks; our side is built of `gz.bijectors`, without a recipe."
    told = {"parts": "spline_coupling", "jit_compile": True, **SPLINES}
    yield _training("spline_coupling", "spline coupling", "", "libraries.zuko_training", {}, 20, about, **told)
    told = {"batch_size": 64, "more": LANGEVIN}
    yield _training("ebm", "EBM, 10 Langevin steps", "ebm", "plain.ebm", {"energy": "network"}, 30, **told)
    told = {"overrides": PLAIN | {"hidden": 500}, "more": {"hidden": 500}, "compiles": False}
    about = "scikit-learn's BernoulliRBM, whose steps are plain gradient descent; ours are Adam's."
    yield _training("rbm", "RBM", "rbm", "libraries.bernoulli_rbm", {}, 500, about, **told)


def loops():
    """`fit` beside a bare loop."""
    for recipe in FAMILIES:
        yield _row(f"loop/{recipe}", f"`{recipe}`", measures.loop, recipe=recipe)


def precisions():
    """bfloat16 beside float32, and losses of validation images after as many steps."""
    for recipe, steps, timed in PRECISE:
        yield _row(f"precision/{recipe}", f"`{recipe}`", measures.precision, recipe=recipe, steps=steps, timed=timed)


def samplings():
    """Sampling beside other libraries, and of every family with its defaults."""
    unet = {"overrides": PLAIN | UNET, "peer": "diffusers", "fitted": False, **CHANNELS}
    title, how = "U-Net, DDIM of 30 calls", {"sampler": "ddim", "steps": 30}
    told = {"recipe": "ddpm", "images": 256, "how": how, "evaluations": 30, "ancestral": False, **unet}
    yield _row("sampling/ddim", title, measures.sampling, "diffusers' DDIMPipeline.", **told)
    title, how = "U-Net, DDPM of 1,000 calls", {"sampler": "ddpm", "steps": 1000}
    told = {"recipe": "ddpm", "images": 16, "how": how, "evaluations": 1000, "ancestral": True, **unet}
    yield _row("sampling/ddpm", title, measures.sampling, "diffusers' DDPMPipeline.", **told)
    told = {"recipe": "glow", "images": 1000, "overrides": PLAIN | GLOW, "peer": "normflows", **LIKE_GLOW}
    yield _row("sampling/normflows_glow", "Glow", measures.sampling, "normflows' Glow.", **told)
    for recipe in FAMILIES:
        yield _row(f"sampling/{recipe}", f"`{recipe}`, its defaults", measures.sampling, recipe=recipe, images=256)


def scores():
    """Scores of features beside other libraries."""
    few, many = {"n": 10_000, "dim": 2048}, {"n": 50_000, "dim": 2048}
    told = {"work": "inception", "peer": "torch_fidelity_features", "n": 500, "batch_size": 50}
    yield _row("scores/inception", "Inception's features of 500 images, against torch-fidelity", measures.score, most=3, **told)
    for peer, title in (("clean_fid", "clean-fid"), ("torch_fidelity_fid", "torch-fidelity")):
        told = {"work": "distance", "peer": peer, **many}
        yield _row(f"scores/fid_{peer}", f"FID of 50,000 x 2048 features, against {title}", measures.score, most=3, **told)
    told = {"work": "kernel", "peer": "torch_fidelity_kid", **few}
    yield _row("scores/kid", "KID of 10,000 x 2048 features, against torch-fidelity", measures.score, most=3, **told)
    title = "precision, recall, density, coverage of"
    told = {"work": "neighbours", "peer": "prdc", **few}
    yield _row("scores/neighbours", f"{title} 10,000 x 2048 features, against prdc", measures.score, most=3, **told)
    told = {"work": "nearest", "peer": "faiss_nearest", **few}
    nearest = "five nearest neighbours of 10,000 x 2048 features, against faiss"
    about = "faiss searches in float32. Ours computes anew in float64 the distances that decide."
    yield _row("scores/nearest", nearest, measures.score, about, most=3, **told)
    told = {"work": "neighbours", **many}
    yield _row(
        "scores/neighbours_all", f"{title} 50,000 x 2048 features", measures.score, "prdc needs 60 GB for it.", most=1, **told
    )


def starts():
    """The first step of every recipe."""
    from keras_genzoo import recipes

    for name in (name for names in recipes.names().values() for name in names):
        about = "At 32x32x3, batches of 8." if "/" in name else ""
        yield _row(f"start/{name}", f"`{name}`", measures.start, about, recipe=name)


TABLES = {"training": trainings, "loop": loops, "precision": precisions, "sampling": samplings, "scores": scores, "start": starts}


def rows():
    """All rows by name."""
    return {row.name: row for table in TABLES.values() for row in table()}
