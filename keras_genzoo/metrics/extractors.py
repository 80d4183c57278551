"""The extractors that have a name: those that come with the package, Inception, DINOv2 and CLIP."""

import functools
import hashlib

from keras_genzoo.metrics import vit
from keras_genzoo.metrics.features import FeatureExtractor


def _fashion_cnn():
    from keras_genzoo.metrics import fashion_cnn

    return FeatureExtractor(
        model := fashion_cnn.load(),
        layer="features",
        preprocess=fashion_cnn.preprocess,
        name="fashion-cnn",
        resize="bilinear antialiased 28x28 gray",
        hash=_file_digest(fashion_cnn.WEIGHTS),
        logits=_head(model.get_layer("probabilities")),
        maps=("block1_relu", "block2_relu", "block3_relu", "block4_relu"),
    )


def _efficientnet_lite0():
    from keras_genzoo.metrics import efficientnet_lite0

    return FeatureExtractor(
        model := efficientnet_lite0.load(),
        layer="features",
        preprocess=efficientnet_lite0.preprocess,
        name="efficientnet-lite0",
        resize="bilinear antialiased 224x224 RGB",
        hash=_file_digest(efficientnet_lite0.WEIGHTS),
        logits=_head(model.get_layer("logits")),
        maps=("block0_project", "block2_add", "block4_add", "block10_add", "head"),
        batch_size=64,
    )


def inception_features(weights=None, resize="tf1", spatial=False):
    """The Inception network of 2015, whose `pool_3` features (2048) make the Frechet distance the FID.

    The weights (89 MB) are fetched on first use into Keras's cache. Images are gray or RGB, of any size. Scores are named
    FID, KID and IS, with `[clean]` behind them under that resize; weights of another file than the known one give
    `FD[inception-<hash>]` and so on.

    Args:
        weights: path of `inception-2015-12-05.tgz` or of the `classify_image_graph_def.pb` in it; None fetches the archive
            if Keras's cache has it not. Defaults to None.
        resize: str. "tf1", as FID is defined (bilinear, without half-pixel centres), or "clean", as clean-fid has it
            (bicubic, antialiased; arXiv:2104.11222): other numbers, which do not compare.
        spatial: bool. Whether to take the first seven channels of `mixed_6/conv` at each of its 17x17 places, 2023 features, in
            place of `pool_3`. Their Frechet distance is the sFID (Nash et al. 2021, arXiv:2103.03841), as the evaluation of ADM
            computes it. Scores are named sFID, `KD[inception-spatial]` and so on. Defaults to False.

    Raises:
        OSError: no such file, or it cannot be fetched; the message says where to put it.
        ValueError: the file holds another network; another `resize`.

    Example:

    >>> features = keras_genzoo.metrics.inception_features(weights="inception-2015-12-05.tgz")  # doctest: +SKIP
    >>> distance = keras_genzoo.metrics.FrechetDistance(features)  # doctest: +SKIP
    """
    from keras_genzoo.metrics import inception as network

    if resize not in network.RESIZES:
        raise ValueError(f"resize is {resize!r}, expected one of {', '.join(network.RESIZES)}.")
    model, digest, known = network.load(weights)
    product = model.get_layer("logits_unbiased").kernel.numpy()
    clean = "-clean" if resize == "clean" else ""
    extractor = FeatureExtractor(
        network.spatial(model) if spatial else model,
        layer="spatial" if spatial else "pool_3",
        preprocess=lambda images: network.preprocess(images, resize),
        name="-".join(["inception", *["spatial"] * spatial, *([] if known else [digest[:8]])]) + clean,
        resize=network.RESIZES[resize],
        hash=digest[:12],
        logits=None if spatial else lambda features: features @ product,
        maps=() if spatial else ("conv_2", "conv_4", "mixed_2_join", "mixed_7_join", "mixed_10_join"),
        batch_size=32,
    )
    extractor.kept = True
    if known:
        titles = {"FD": "sFID"} if spatial else TITLES
        extractor.titles = {symbol: title + clean.replace("-clean", "[clean]") for symbol, title in titles.items()}
    return extractor


def vit_features(name="dinov2", weights=None):
    """The class token of DINOv2, or the image embedding of CLIP: features of vision transformers that saw far more than ImageNet.

    Stein et al. (2023, arXiv:2306.04675) find the Frechet distance in the features of DINOv2 ViT-L/14 nearest to what people see,
    and Kynkäänniemi et al. (2023, arXiv:2203.06026) show that in those of CLIP it depends less on the classes of ImageNet.

    Args:
        name: str. "dinov2" (ViT-L/14, 1024 features), "dinov2-vitb14" (768), "dinov2-vits14" (384), "clip" (ViT-B/32, 512) or
            "clip-vitl14" (768). Scores carry it, as `FD[dinov2]`. Defaults to "dinov2".
        weights: path of the network's `model.safetensors` of the Hugging Face Hub. None fetches it on first use, which needs the
            extra `hub`. Defaults to None.

    Raises:
        ImportError: safetensors or huggingface_hub is missing.
        OSError: no such file, or it cannot be fetched; the message says what to do.
        ValueError: an unknown name, or a file of another network.

    Example:

    >>> features = keras_genzoo.metrics.vit_features("dinov2-vits14", "model.safetensors")  # doctest: +SKIP
    >>> distance = keras_genzoo.metrics.FrechetDistance(features)  # doctest: +SKIP
    """
    if name not in vit.NETWORKS:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(vit.NETWORKS)}.")
    network = vit.NETWORKS[name]
    quarter = max(1, network.depth // 4)
    extractor = FeatureExtractor(
        vit.load(name, weights),
        layer="features",
        preprocess=lambda images: vit.preprocess(images, network.family),
        name=name,
        resize=vit.RESIZES[network.family],
        maps=[f"block{index}_add2" for index in range(quarter - 1, network.depth, quarter)],
        batch_size=32,
    )
    extractor.kept = True
    return extractor


def _head(dense):
    kernel, bias = (weight.numpy() for weight in dense.weights)
    return lambda features: features @ kernel + bias


def _file_digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def fetch_features(name):
    """Fetch the weights of an extractor, unless they come with the package or are on this machine.

    Args:
        name: str. One of `names()`.

    Raises:
        ImportError, OSError: they cannot be fetched; the message says what to do.

    Example:

    >>> keras_genzoo.metrics.fetch_features("fashion-cnn")
    """
    if name.startswith("inception"):
        from keras_genzoo.metrics import inception

        inception.fetch()
    elif name in vit.NETWORKS:
        vit.fetch(name)


# The names that scores have on the features of Inception, and on no others.
TITLES = {"FD": "FID", "FD_inf": "FID_inf", "KD": "KID", "IS": "IS", "rFD": "rFID"}
TITLES |= {f"{which}_{symbol}": f"{which}_{TITLES[symbol]}" for which in ("class", "intra") for symbol in ("FD", "KD")}
SHIPPED = {"fashion-cnn": _fashion_cnn, "efficientnet-lite0": _efficientnet_lite0}
NAMED = SHIPPED | {
    "inception": inception_features,
    "inception-clean": lambda: inception_features(resize="clean"),
    "inception-spatial": lambda: inception_features(spatial=True),
    **{name: functools.partial(vit_features, name) for name in vit.NETWORKS},
}
GARMENTS = ("fashion_mnist_mini", "fashion_mnist")


@functools.cache
def _named(name):
    extractor = NAMED[name]()
    extractor.kept = True
    return extractor


def names():
    """The names that `get` takes."""
    return list(NAMED)


def default_features(data=None, channels=None):
    """The name of the features to look at images with, where none are asked for.

    Args:
        data: str or None. Name of the data set, if it has one.
        channels: int or None. Of the images, if known: Inception sees gray and RGB ones alone.

    Returns:
        "fashion-cnn" for Fashion-MNIST, which it knows; else "inception" where its weights are on this machine, so that the
        distance is the FID, and else "efficientnet-lite0".
    """
    from keras_genzoo.metrics import inception as network

    if data in GARMENTS:
        return "fashion-cnn"
    return "inception" if channels in (None, 1, 3) and network.available() else "efficientnet-lite0"


def get(features):
    """An extractor by name, or the one given.

    Args:
        features: str or extractor. By name:
            - "fashion-cnn": the last layer but one (128 values) of a classifier of Fashion-MNIST that ships with the
              package; takes images of any height, width and channels (resized to 28x28, channels averaged); right for
              garments, and a rough eye for other small images.
            - "efficientnet-lite0": the 1280 features of a small classifier of ImageNet that ships with the package, for
              colour and whatever else there is.
            - "inception", "inception-clean", "inception-spatial": see `inception_features`; the ones for FID and sFID.
            - "dinov2", "dinov2-vitb14", "dinov2-vits14", "clip", "clip-vitl14": see `vit_features`.
            Each is loaded at its first use.

    Raises:
        ValueError: an unknown name, or an object that is no extractor.
        OSError: weights that do not come with the package are neither here nor to be fetched.
        ImportError: the extra `hub` is missing, which fetches and reads those of DINOv2 and CLIP.

    Example:

    >>> features = keras_genzoo.metrics.get("fashion-cnn")
    >>> features(np.zeros((2, 33, 21, 5), "uint8")).shape
    (2, 128)
    """
    if isinstance(features, str):
        if features not in NAMED:
            raise ValueError(f"unknown features {features!r}; there are {', '.join(NAMED)}, or give a FeatureExtractor.")
        return _named(features)
    missing = [name for name in ("name", "hash", "resize", "dim", "__call__") if not hasattr(features, name)]
    if missing:
        raise ValueError(
            f"features of type {type(features).__name__} lack {', '.join(missing)}; "
            f"give one of the names {', '.join(NAMED)}, or a FeatureExtractor."
        )
    return features
