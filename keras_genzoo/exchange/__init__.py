"""Models of other libraries, read and written: U-Nets of diffusers and their noise schedules, as JSON and safetensors."""

import json
from pathlib import Path

import numpy as np

from keras_genzoo.core import averages, hub
from keras_genzoo.core.files import replacing
from keras_genzoo.exchange import settings, weights
from keras_genzoo.models import Diffusion

UNET, SCHEDULER, INDEX = "config.json", "scheduler_config.json", "model_index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = [each for name in (UNET, WEIGHTS) for each in (name, f"unet/{name}")] + [SCHEDULER, f"scheduler/{SCHEDULER}"]
VERSION = "0.42.1"  # of diffusers, whose names these are

__all__ = ["from_diffusers", "to_diffusers"]


def from_diffusers(path, image_shape=None):
    """Read a `UNet2DModel` of diffusers and its scheduler's settings, with the weights.

    Args:
        path: str or Path of a folder as `save_pretrained` of a pipeline, or of the network, writes it; or an address on the
            Hugging Face Hub, as "hf://google/ddpm-cifar10-32". Weights come from safetensors alone, never from a pickle.
        image_shape: `(height, width, channels)` where the settings do not tell, or for images of another size. Defaults to None.

    Returns:
        A compiled `Diffusion` that draws images as the scheduler would, and that `fit` trains on.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a setting that is not understood, by its name; weights that do not fit.
        ImportError, OSError: safetensors or huggingface_hub is missing; the Hub does not answer.

    Example:

    >>> model = gz.from_diffusers("hf://google/ddpm-cifar10-32")  # doctest: +SKIP
    >>> model.sample(4, seed=0, sampler="ddim", steps=20).shape  # doctest: +SKIP
    (4, 32, 32, 3)
    """
    folder = hub.snapshot(path, FILES) if hub.is_remote(path) else Path(path)
    inner, around = (folder / name if (folder / name).is_dir() else folder for name in ("unet", "scheduler"))
    schedule = settings.schedule(_json(around / SCHEDULER))
    network = settings.network(_json(inner / UNET), image_shape, schedule["timesteps"])
    weights.take(network, _safetensors().load_file(_found(inner / WEIGHTS)))
    model = Diffusion(network, **schedule)
    if getattr(model.sampler, "variance", "") is None and not model.learns_variance:
        raise ValueError(
            "variance_type of the scheduler is 'learned_range', and out_channels of the network are not twice in_channels."
        )
    model.compile()
    return model


def to_diffusers(model, folder):
    """Write a model as a pipeline of diffusers: `DDPMPipeline.from_pretrained(folder)` reads it.

    The averages of the weights are written, if the model keeps any.

    Args:
        model: `Diffusion` of the schedule `Linear` with all of its `timesteps`, and with a network of `networks.unet`.
        folder: str or Path. Made if missing; files of these names are replaced.

    Raises:
        ValueError: a part of the model that diffusers has no name for.
        ImportError: safetensors is missing.

    Example:

    >>> model = gz.build("ddpm", (32, 32, 3), width=16, patch=1, groups=4)  # doctest: +SKIP
    >>> gz.to_diffusers(model, "as_pipeline")  # doctest: +SKIP
    """
    folder, library = Path(folder), _safetensors()
    if not isinstance(model, Diffusion):
        raise ValueError(f"the model is a {type(model).__name__}, expected a Diffusion of pixels, as of the recipe 'ddpm'.")
    written = {
        f"scheduler/{SCHEDULER}": {"_class_name": "DDPMScheduler", **settings.of_schedule(model)},
        f"unet/{UNET}": {"_class_name": "UNet2DModel", **settings.of_network(model)},
        INDEX: {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        },
    }
    arrays = weights.give(model.network, averages.begun(model))
    for name, content in written.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(json.dumps({**content, "_diffusers_version": VERSION}, indent=2) + "\n")
    with replacing(folder / "unet" / WEIGHTS) as temporary:
        library.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, {"format": "pt"})


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("weights of diffusers need safetensors; `pip install 'keras_genzoo[hub]'` installs it.") from error
    return safetensors.numpy


def _found(path):
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a folder as save_pretrained of diffusers writes it.")
    return path


def _json(path):
    return json.loads(_found(path).read_text("utf-8"))
