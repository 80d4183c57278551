"""What is known of every score: its range, which way is better, how it is shown, and what it says in one sentence.

Tables, rounding, the page, exports and comparisons all look here.
"""

import dataclasses

POSITIVE = "positive"  # intervals on the log scale
SHARE = "share"  # in [0, 1]
COUNT = "count"  # at least 0
LOWER, HIGHER = "lower", "higher"  # which way is better


@dataclasses.dataclass(frozen=True)
class Score:
    """A score, or a cost.

    Attributes:
        meaning: str. What it says, a sentence.
        better: `LOWER`, `HIGHER`, or None where neither way is better.
        range: `POSITIVE`, `SHARE`, `COUNT`, or None for all numbers.
        title: str. What tables call it; "" is its own name.
        scale: float. What tables multiply it by. Defaults to 1.
        digits: "significant", "whole" for counts shown in full, or "power" for numbers shown by powers of ten. Defaults to
            "significant".
    """

    meaning: str = ""
    better: str | None = None
    range: str | None = None
    title: str = ""
    scale: float = 1.0
    digits: str = "significant"


def _cost(meaning, title, better=LOWER, **others):
    return Score(meaning, better, title=title, **others)


def _count(meaning, title, better=None):
    return Score(meaning, better, COUNT, title, digits="whole")


SCORES = {
    "FD": Score("The Frechet distance of samples from real images. Few images inflate it.", LOWER, POSITIVE),
    "FID": Score(
        "The Frechet distance of samples from real images, in Inception's features. Few images inflate it.", LOWER, POSITIVE
    ),
    "sFID": Score(
        "The Frechet distance of samples from real images, in features of Inception that keep places.", LOWER, POSITIVE
    ),
    "percent": Score("The distance in percent of the pixel Gaussian's.", LOWER, POSITIVE, "in % of pixel Gaussian"),
    "seed_deviation": Score(
        "How much the distance of another training would differ.", title="deviation over seeds, %", scale=100
    ),
    "fd_bootstrap": Score(
        "How much the distance of one trained model moves with other images, by bootstrap.",
        title="deviation over images, %",
        scale=100,
    ),
    "FD_inf": Score("The distance extrapolated to infinitely many samples.", LOWER, POSITIVE),
    "FID_inf": Score("FID extrapolated to infinitely many samples.", LOWER, POSITIVE),
    "KD": Score("The kernel distance. It is unbiased, so it may be slightly negative near zero.", LOWER),
    "KD_normalised": Score("The kernel distance of normalised features. It may be slightly negative near zero.", LOWER),
    "KID": Score("The kernel distance in Inception's features. It may be slightly negative near zero.", LOWER),
    "IS": Score(
        "How sure a classifier is of samples, and how evenly it uses its classes. It knows no real image.", HIGHER, POSITIVE
    ),
    "precision": Score("The share of samples that lie near a real image.", HIGHER, SHARE),
    "recall": Score("The share of real images that lie near a sample.", HIGHER, SHARE),
    "density": Score("How many real images lie near a sample, over k. It exceeds 1 where samples crowd.", HIGHER, POSITIVE),
    "coverage": Score("The share of real images with a sample nearby.", HIGHER, SHARE),
    "modes": _count("The classes that hold a sample, of those of the data.", "classes met, of those of the data", HIGHER),
    "modes_real": _count("The classes of the data.", "classes of the data"),
    "rarest_mode": Score("The smallest share of a class among the samples.", HIGHER, SHARE, "share of the rarest class"),
    "sharpness": Score(
        "The variance of the Laplacian over the data's: blur is below 1, noise above.", None, POSITIVE, "sharpness, data 1"
    ),
    "path_length": Score(
        "How much images change along lines between latents. It compares models whose latents are drawn alike.",
        LOWER,
        POSITIVE,
        "path length",
    ),
    "intra_FD": Score("The mean Frechet distance within the classes.", LOWER, POSITIVE),
    "intra_FID": Score("The mean FID within the classes.", LOWER, POSITIVE),
    "intra_KD": Score("The mean kernel distance within the classes.", LOWER),
    "intra_KD_normalised": Score("The mean kernel distance of normalised features within the classes.", LOWER),
    "intra_KID": Score("The mean KID within the classes.", LOWER),
    "class_FD": Score("The Frechet distance within a class.", LOWER, POSITIVE, "FD"),
    "class_FID": Score("The FID within a class.", LOWER, POSITIVE, "FID"),
    "class_KD": Score("The kernel distance within a class.", LOWER, title="KD"),
    "class_KID": Score("The KID within a class.", LOWER, title="KID"),
    "class_bits_per_dim": Score("The code length of test images of a class.", LOWER, title="bits/dim "),
    "accuracy": Score("The share of test images whose label the model finds.", HIGHER, SHARE),
    "class_accuracy": Score("The share of the test images of a class whose label the model finds.", HIGHER, SHARE, "accuracy"),
    "nearest_train": Score(
        "The mean distance, in features, of samples to the nearest training image.", None, POSITIVE, "nearest train image"
    ),
    "train_ratio": Score(
        "The median of these distances over that of test images: far under 1 means copying.",
        None,
        POSITIVE,
        "the same over a test image's",
    ),
    "authenticity": Score(
        "The share of samples that are no copies of a training image: near 0 means copying, more than real images' bad samples.",
        None,
        SHARE,
    ),
    "data_copying": Score("A test of copying: below -3 the model copies, above 3 it underfits.", title="data copying C_T"),
    "mse": Score("The mean squared error of reconstructions, of images in [0, 1].", LOWER, POSITIVE, "MSE"),
    "psnr": Score("The peak signal-to-noise ratio of reconstructions.", HIGHER, title="PSNR, dB"),
    "ssim": Score("The structural similarity of images and reconstructions.", HIGHER, SHARE, "SSIM"),
    "rFD": Score("The Frechet distance of reconstructions from the images.", LOWER, POSITIVE),
    "rFID": Score("The FID of reconstructions from the images.", LOWER, POSITIVE),
    "PD": Score("The distance of each image from its reconstruction in the layers of the network.", LOWER, POSITIVE),
    "reconstruction_sharpness": Score(
        "The sharpness of reconstructions over the data's: blur is below 1.", None, POSITIVE, "sharpness, data 1"
    ),
    "bits_per_dim": Score(
        "The code length of test images. A bound lies above the true value; that of dequantised images above that of levels.",
        LOWER,
        title="bits/dim ",
    ),
    "log_prob": Score("The logarithm of the likelihood of test images.", HIGHER, title="log p, nats "),
    "log_prob_error": Score("How well the normalising constant is known.", LOWER, title="standard error of log Z, nats"),
    "active_units": _count("The units of the code that carry information, of all.", "active units, of all"),
    "latent_units": _count("The units of the code.", "units of the code"),
    "auroc": Score(
        "How well energies tell other images from test images: 1 is always, 0.5 not at all.", HIGHER, SHARE, "AUROC against "
    ),
    "chain_steps": _count("The steps of the Markov chain that draws a sample.", "steps of a chain"),
    "chain_acceptance": Score("The share of accepted steps.", None, SHARE, "accepted"),
    "chain_ess": Score(
        "What the energies along a chain amount to in independent draws.", HIGHER, POSITIVE, "effective draws of a chain"
    ),
    "params": _count("Trainable and other parameters of the model.", "parameters", LOWER),
    "steps": _count("Training steps.", "steps"),
    "planned_s": _cost("Seconds that were planned for training and the fit of a prior.", "planned s", None),
    "actual_s": _cost("Seconds that they took.", "actual s", None),
    "train_flops": _cost("Floating-point operations of training.", "training FLOPs", digits="power"),
    "sample_flops": _cost("Floating-point operations of one sample.", "FLOPs a sample", digits="power"),
    "train_images_per_s": _cost("Images that training takes in each second.", "train images/s", HIGHER),
    "train_s": _cost("Seconds of training, compilation not counted.", "train s", None),
    "compile_s": _cost("Seconds of compilation.", "compile s"),
    "fit_prior_s": _cost("Seconds of the fit of a prior over codes.", "fit prior s"),
    "latency_s": _cost("Milliseconds until one image is there, the median of warm calls.", "ms for one image", scale=1000),
    "sample_images_per_s": _cost(
        "Images sampled each second, 256 at a time, the median of warm calls.", "images/s of 256", HIGHER
    ),
    "evaluations_per_sample": _count("Calls of the network for one image.", "network calls an image", LOWER),
    "peak_memory_mb": _count("The most memory that the process held.", "peak memory, MB", LOWER),
    "peak_gpu_memory_mb": _count("The most memory of the GPU that training held.", "peak GPU memory, MB", LOWER),
}


OF_CLASS = " of class "  # between the name of a dict by class and a class


def number(known, key):
    """What is known under a name, of a dict of names; of "NAME of class K" what a dict by class has of the class, or None."""
    name, _, label = key.partition(OF_CLASS)
    value = known.get(name)
    return {str(each): number for each, number in (value or {}).items()}.get(label) if label else value


def split(key):
    """The name of a score and what stands in brackets behind it.

    Example:

    >>> from keras_genzoo.benchmark import scores
    >>> scores.split("FD[fashion-cnn]"), scores.split("recall")
    (('FD', '[fashion-cnn]'), ('recall', ''))
    """
    name, bracket, rest = key.partition("[")
    name, of_class, label = name.partition(OF_CLASS)
    return name, bracket + rest or of_class + label


def of(key):
    """What is known of a score, a `Score`; of one that is not known here only that it is a number.

    Args:
        key: str. Its name, as "FD[fashion-cnn]".

    Example:

    >>> from keras_genzoo.benchmark import scores
    >>> [scores.of(key).range for key in ("FD[fashion-cnn]", "recall", "KD[fashion-cnn]")]
    ['positive', 'share', None]
    >>> scores.of("recall").better, scores.of("sharpness").better
    ('higher', None)
    """
    return SCORES.get(split(key)[0], Score())


def title(key):
    """What tables call a score. A likelihood says what it is, and which way it errs: one that errs in a model's favour is no
    bound to be ranked with.

    Example:

    >>> from keras_genzoo.benchmark import scores
    >>> scores.title("mse"), scores.title("KD[fashion-cnn]"), scores.title("bits_per_dim[iw64]")
    ('MSE', 'KD[fashion-cnn]', 'bits/dim [iw64], an upper bound')
    """
    name, bracket = split(key)
    bracket = "" if name == "log_prob_error" else bracket
    found = f"{of(key).title or name}{bracket}".strip()
    return f"{found}, {_kind(name, bracket)}" if name in ("bits_per_dim", "log_prob") else found


def first(found):
    """What a line says of scores without a Frechet distance of samples, as "mse 0.0123"; "no score" where there is none.

    Args:
        found: dict of scores.
    """
    known = next((key for key in found if split(key)[0] in ("IS", "bits_per_dim", "mse") and found[key] is not None), None)
    return f"{known} {found[known]:.3g}" if known else "no score"


def _kind(name, bracket):
    """What a likelihood is, in words."""
    bits = name == "bits_per_dim"
    if bracket == "[ais]":
        return f"an estimate that errs {'downwards' if bits else 'upwards'}"
    if bracket == "[ode]":
        return "an estimate without bias"
    if not bracket or bracket.endswith("bit]"):  # the latter of fewer levels
        return "exact"
    return f"{'an upper' if bits else 'a lower'} bound"
