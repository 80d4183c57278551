"""`genzoo doctor`: versions, devices, data and weights."""

import importlib.metadata
import importlib.util

import click

EXTRAS = {"report": ("altair", "jinja2", "pandas", "tabulate", "vl_convert"), "tuning": ("keras_tuner", "tensorboard")}
PACKAGES = "keras_genzoo", "keras", "tensorflow", "numpy", "tensorflow-datasets"


@click.command(short_help="Show versions, devices, data sets and weights.")
def doctor():
    """Show what is installed, what computes, and which data sets and weights are found: what to say with a question.

    \b
    Example:
      genzoo doctor
    """
    import psutil
    import tensorflow as tf

    import keras_genzoo as gz
    from keras_genzoo.core import devices
    from keras_genzoo.core.runs import environment
    from keras_genzoo.metrics import inception
    from keras_genzoo.metrics.extractors import SHIPPED

    known = environment()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    lines = {"versions": f"{', '.join(versions)}; Python {known['python']} on {known['system']}"}
    for extra, modules in EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        lines[extra] = f"without {', '.join(lacking)}; pip install 'keras_genzoo[{extra}]'" if lacking else "installed"
    free = psutil.virtual_memory().available / 2**30
    lines["processor"] = f"{known['cpu']}, {known['cores']} cores; {free:.1f} of {known['memory_gb']} GiB of memory free"
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    lines["GPU"] = ", ".join(names) or f"none: {devices.missing_reason()}"
    for name in gz.data.names():
        counts = gz.data.info(name).counts
        lines[name] = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    try:
        gz.data.info("fashion_mnist")
        lines["fashion_mnist"] = "prepared for TFDS"
    except (ValueError, OSError):
        lines["fashion_mnist"] = "not there; `genzoo prepare fashion_mnist` fetches it"
    lines["features"] = f"{', '.join(SHIPPED)} come with the package"
    path = inception.cache_path()
    lines["inception"] = f"weights in {path}" if path.exists() else f"no weights in {path}, where FID fetches them once"
    width = max(map(len, lines))
    for name, line in lines.items():
        click.echo(f"{name:<{width}}  {line}")
