"""Trained models as files that run without this package: SavedModels, ONNX, LiteRT."""

import contextlib
import functools
import inspect
import textwrap
from pathlib import Path

import keras
import tensorflow as tf

from keras_genzoo.core import averages
from keras_genzoo.core.conditions import condition_from
from keras_genzoo.core.files import replacing, replacing_folder
from keras_genzoo.core.randomness import RowStream

SAVED_MODEL, ONNX, LITERT = FORMATS = ("tf_saved_model", "onnx", "litert")
METHODS = ("encode", "decode", "log_prob")
OPSET = 18  # of ONNX, unless told otherwise
LABELS = tf.TensorSpec((None,), tf.int64, "labels")


class Exporting:
    """The part of `GenerativeModel` that writes graphs for other programs."""

    def export(self, filepath, format=SAVED_MODEL, verbose=None, endpoint=None, **kwargs):
        """Write the model as graphs that run without this package, with the averages of the weights where it keeps any.

        A SavedModel is a folder with an endpoint for each thing that the model can do. Images are float32 in [0, 1],
        `(batch, height, width, channels)`. Conditional models take int64 `labels`, `(batch,)`, and float32 `conditions`, `(batch,
        condition_dim)`, behind the argument of each endpoint but `sample`.

            `serve(images)`: the model's `call`.
            `sample(n, seed)`: int32 and int64 scalars to the images of `model.sample(n, seed)`, all at once. Labels are uniform,
                vectors are those of training images.
            `sample_labels(labels, seed)`: an image for each label, of models with classes.
            `sample_conditions(conditions, seed)`: an image for each vector, of models that are told vectors; those with classes
                take labels first.
            `generate(latents)`: the images of noise, as `draw_latents` draws it.
            `encode(images)`, `decode(codes)`, `log_prob(images)`: where the model has them.

        ONNX and LiteRT files hold one of these, `endpoint`.

        Args:
            filepath: str or Path. A folder, or a file for ONNX and LiteRT. An earlier export there is replaced.
            format: "tf_saved_model", "onnx" (needs `pip install keras_genzoo[onnx]`) or "litert".
            verbose: bool or None. Whether TensorFlow lists what it writes into a SavedModel. Defaults to None, no.
            endpoint: str or None. The one endpoint of a file; None is "decode", or "generate" where the model has no codes.
                Defaults to None.
            **kwargs: `opset_version` of ONNX (18 unless given).

        Raises:
            ValueError: an unknown format or endpoint; an endpoint that the format has no operations for, as chains that need
                gradients.
            FileExistsError: a folder that holds something else than an earlier export.
            ImportError: a package is missing that the format needs.

        Example:

        >>> model.export("vae_saved")
        >>> served = tf.saved_model.load("vae_saved")
        >>> images = served.sample(tf.constant(4), tf.constant(0, tf.int64))
        >>> bool(np.abs(images - model.sample(4, seed=0)).max() < 1e-5)
        True
        """
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}, expected one of {', '.join(FORMATS)}.")
        if format == SAVED_MODEL and endpoint is not None:
            raise ValueError("a SavedModel holds every endpoint and takes no endpoint=.")
        unknown = [name for name in kwargs if (format, name) != (ONNX, "opset_version")]
        if unknown:
            raise ValueError(f"export takes no {unknown[0]}= for the format {format!r}; leave it out.")
        write = {SAVED_MODEL: _saved_model, ONNX: _onnx, LITERT: _litert}[format]
        kept = [(variable, tf.identity(variable._value)) for variable, _ in self._averages.all]
        averages.settle(self)
        trained, self._as_trained = self._as_trained, True  # the weights stand at their averages
        try:
            chosen = endpoints(self)
            if format != SAVED_MODEL:
                name = endpoint or ("decode" if "decode" in chosen else "generate")
                if name not in chosen:
                    raise ValueError(f"endpoint is {name!r}, but {self.name!r} has {', '.join(chosen)}.")
                chosen = chosen[name]
            write(self, Path(filepath), chosen, bool(verbose), **kwargs)
        finally:
            self._as_trained = trained
            for variable, value in kept:
                variable._value.assign(value)


def endpoints(model):
    """What a model can do, as dict of names to pairs of a function of tensors and the specs of these."""
    images = tf.TensorSpec((None, *model.image_shape), tf.float32, "images")
    n, seed = tf.TensorSpec((), tf.int32, "n"), tf.TensorSpec((), tf.int64, "seed")
    told = _told(model)
    # A family may need labels in training, and not sample by class.
    own = {"labels": LABELS, **told} if model.conditional else {name: told[name] for name in told if name != "labels"}
    batch = lambda x, *of: (x, dict(zip(own, of, strict=True))) if of else x  # noqa: E731
    found = {"serve": (lambda *rows: model.call(batch(*rows)), [images, *own.values()])}
    codes = None
    if hasattr(model, "sample"):
        found["sample"] = model.sample, [n, seed]
        if told:
            kind = "conditions" if "conditions" in told else "labels"
            found[f"sample_{kind}"] = functools.partial(_sample, model), [*told.values(), seed]
        codes = tf.TensorSpec((None, *model.latent_shapes()[0]), tf.float32, "latents")
        found["generate"] = functools.partial(_generate, model), [codes, *told.values()]
    for name in METHODS:
        if not hasattr(model, name):
            continue
        function, first = getattr(model, name), codes if name == "decode" else images
        by = [spec for key, spec in own.items() if key in inspect.signature(function).parameters]
        if name == "decode" and told and not hasattr(model, "encode"):
            function, by = functools.partial(_generate, model), [*told.values()]
        elif by:
            function = functools.partial(_beside, function, [spec.name for spec in by])
        elif name == "log_prob" and hasattr(model, "log_partition"):  # once, and not in every call
            function = functools.partial(function, log_partition=float(model.log_partition(seed=0)[0]))
        found[name] = function, [first, *by]
        if name == "encode":
            made = tf.function(function, autograph=False).get_concrete_function(first, *by)
            codes = _spec(made.structured_outputs, "codes")
    return found


def _told(model):
    """Specs of what the model is told beside images, by name."""
    labels = {} if model.num_classes is None else {"labels": LABELS}
    if model.condition_dim is None:
        return labels
    return labels | {"conditions": tf.TensorSpec((None, model.condition_dim), tf.float32, "conditions")}


def _sample(model, *told):
    *told, seed = told
    return model.sample(tf.shape(told[0])[0], seed, **dict(zip(_told(model), told, strict=True)))


def _generate(model, latents, *told):
    given = dict(zip(_told(model), told, strict=True))
    condition = model.told(**given) if hasattr(model, "told") else condition_from(model.num_classes, **given)
    latents = latents if condition is None else (latents, condition)
    return model.generate(latents, **({"key": RowStream(0, 0).key()} if model.keyed else {}))


def _beside(method, names, rows, *told):
    return method(rows, **dict(zip(names, told, strict=True)))


def _spec(rows, name):
    return tf.TensorSpec((None, *rows.shape[1:]), rows.dtype, name)


def _saved_model(model, folder, chosen, verbose):
    if folder.exists() and not (folder / "saved_model.pb").exists() and (folder.is_file() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is no earlier export, whose place a new one could take; choose another folder."
        )
    archive = keras.export.ExportArchive()
    for name, (function, specs) in chosen.items():
        archive.add_endpoint(name, _traced(function, specs), specs)
    with replacing_folder(folder) as temporary:
        archive.write_out(temporary, verbose=verbose)


def _onnx(model, path, chosen, verbose, opset_version=OPSET):
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            f"format='onnx' needs {error.name}, which is not here; `pip install 'keras_genzoo[onnx]'` installs it."
        ) from error
    with replacing(path) as temporary, _converting(model, "ONNX"):
        tf2onnx.convert.from_function(_traced(*chosen), chosen[1], opset=opset_version, output_path=str(temporary))
        onnxruntime.InferenceSession(temporary)  # the converter writes operations, too, that no runtime knows


def _litert(model, path, chosen, verbose):
    with _converting(model, "LiteRT"):
        made = tf.lite.TFLiteConverter.from_concrete_functions([_traced(*chosen).get_concrete_function()]).convert()
    with replacing(path) as temporary:
        temporary.write_bytes(made)


def _traced(function, specs):
    # As the model itself traces: without autograph. All arguments are tensors.
    return tf.function(function, input_signature=specs, autograph=False)


@contextlib.contextmanager
def _converting(model, what):
    """Of what a converter raises one sentence."""
    try:
        yield
    except (OSError, MemoryError):  # of the disk or the machine, not of the graph
        raise
    except Exception as error:  # converters and runtimes have many kinds of their own
        raise ValueError(
            f"{what} lacks an operation of this endpoint of {model.name!r} ({textwrap.shorten(str(error), 200)}); export another "
            f"endpoint, or a SavedModel."
        ) from error
