"""`genzoo list` and `genzoo show`: which recipes there are, and what one consists of."""

import click

from keras_genzoo.cli import options


@click.command("list")
@options.imports
def list_recipes(imports):
    """List the recipes by family, and the data sets that come with the package."""
    import keras_genzoo as gz

    for family, names in gz.recipes.names().items():
        click.echo(f"{family}:")
        for name in names:
            click.echo(f"  {name:<20} {gz.recipes.get(name).summary}")
    click.echo(f"data sets: {', '.join(gz.data.names())}, a folder, a .npy or .npz file, any TFDS name")


@click.command()
@click.argument("recipe")
@options.imports
def show(recipe, imports):
    """Show RECIPE."""
