"""`genzoo list` and `genzoo show`: which recipes there are, and what one consists of."""

import click

from keras_genzoo.cli import options


@click.command("list")
@click.option("--pretrained", is_flag=True, help="List the trained models that come with the package instead.")
@options.imports
def list_recipes(pretrained, imports):
    """List the recipes by family, and the data sets that come with the package."""
    import keras_genzoo as gz

    if pretrained:
        return list_pretrained()

    for family, names in gz.recipes.names().items():
        click.echo(f"{family}:")
        for name in names:
            click.echo(f"  {name:<20} {gz.recipes.get(name).summary}")
    click.echo(f"data sets: {', '.join(gz.data.names())}, a folder, a .npy or .npz file, any TFDS name")


def list_pretrained():
    """Name the trained models, each with its size, images and first score; their cards say more."""
    from keras_genzoo.core import pretrained, runs

    for name in pretrained.names():
        folder = pretrained.FOLDER / name
        record = runs.read(folder)
        size = (folder / runs.MODEL).stat().st_size / 2**20
        score, (mean, low, high) = next(iter(record["scores"].items()))
        shape = "x".join(map(str, record["image_shape"]))
        click.echo(f"{name:<32} {shape:<8} {size:4.1f} MiB  {score} {mean:.3g} ({low:.3g} to {high:.3g})")
    click.echo(f"Their cards are README.md in the folders of {pretrained.FOLDER}")


@click.command()
@click.argument("recipe")
@click.option("--image-shape", type=options.Shape(), default="28x28x1", help="Height, width and channels of the images.")
@options.overrides
@click.option("--batch-size", type=click.IntRange(1), help="Tell what memory a step with so many images takes.")
@click.option("--layers", is_flag=True, help="Show every layer of the networks too.")
@options.imports
def show(recipe, image_shape, overrides, batch_size, layers, imports):
    """Show what RECIPE consists of: its hyperparameters, its networks, and how it is executed.

    \b
    Examples:
      genzoo show vae
      genzoo show gan --image-shape 64x64x3 --set width=32 --layers
    """
    import keras_genzoo as gz

    about = gz.recipes.describe(recipe, image_shape, batch_size, **overrides)
    click.echo(f"{recipe} ({about['family']}): {about['summary']}")
    if about["description"]:
        click.echo(f"\n{about['description']}")
    click.echo("\nHyperparameters, for --set NAME=VALUE and gz.build:")
    for each in about["hyperparameters"]:
        click.echo(f"  {each['name']}={each['default']!r}")
        meaning = f"{each['meaning']} Follows the size of the images." if each["sized"] else each["meaning"]
        click.echo(click.wrap_text(meaning, 110, "      ", "      "))
        if each["range"] is not None:
            click.echo(click.wrap_text(f"Searched: {each['range'].words()}.", 110, "      ", "      "))
    size = "x".join(map(str, image_shape))
    changed = "".join(f", {name}={value!r}" for name, value in overrides.items())
    click.echo(f"\nNetworks of {about['model']} at {size}{changed}: {about['parameters']:,} parameters")
    for network in about["networks"]:
        click.echo(
            f"  {network['name']:<20} {network['kind']:<20} {network['layers']:>4} layers {network['parameters']:>12,} parameters"
        )
        if layers and hasattr(network["network"], "summary"):
            network["network"].summary(line_length=110, print_fn=click.echo)
    for optimizer, trained in about["optimizers"].items():
        click.echo(f"  {optimizer} trains {', '.join(trained)}")
    if batch_size:
        click.echo(f"A step of {batch_size} images holds {about['step_bytes'] / 2**20:,.0f} MiB of tensors at once, at least")
    execution = ", ".join(f"{name}={value}" for name, value in about["execution"].items()) or "as Keras decides"
    click.echo(f"\nExecution on a CPU: {execution}; on a GPU as Keras decides")
    click.echo(f"fit prints: {', '.join(about['metrics'])}")
    click.echo(f"It can: {', '.join(about['members'])}")
