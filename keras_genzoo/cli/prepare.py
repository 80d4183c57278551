"""`genzoo prepare`: a data set of TFDS, once and for all."""

import click

from keras_genzoo.cli import options


@click.command(short_help="Build a TFDS data set once.")
@click.argument("name")
@click.option("--from", "source", type=options.FOLDER, help="Folder of the original files, instead of the network.")
@options.data_dir
def prepare(name, source, data_dir):
    """Build the TFDS data set NAME once, from the network or from a folder.

    \b
    Example:
      genzoo prepare fashion_mnist --from /usr/share/datasets/fashion-mnist
    """
    import keras_genzoo as gz

    gz.data.prepare(name, source=source, data_dir=data_dir)
    click.echo(f"{name} is ready: use it with --data {name}.")
