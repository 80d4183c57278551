"""`genzoo benchmark add`: rows of models that were trained elsewhere."""

import click

from keras_genzoo.cli import options


@click.command(short_help="Add samples of a model from elsewhere.")
@click.argument("folder", type=options.FOLDER)
@click.option("--name", required=True, help="What the model is called in tables.")
@click.option("--samples", type=options.FOLDER, multiple=True, required=True, help="Its images, one --samples a seed.")
@click.option("--parameters", type=options.COUNT, help="Number of its parameters, if known.")
@click.option("--seconds", type=options.POSITIVE, help="Seconds of its training, if known.")
@click.option("--device", help="What it was trained on, if known.")
@click.option("--note", help="Whatever else is known of it, for the report.")
@click.pass_context
def add(ctx, folder, name, samples, parameters, seconds, device, note):
    """Score samples of a model that was trained elsewhere as those of the rows in FOLDER, and put rows beside these.

    Samples are folders or files as of `genzoo score`, each with at least as many images as the benchmark compares. The rows are
    marked as external.

    \b
    Example:
      genzoo benchmark add runs/first --name "StyleGAN2 (theirs)" --samples s1.npz --samples s2.npz --seconds 36000
    """
    from keras_genzoo.benchmark import external
    from keras_genzoo.benchmark.results import Folder, FolderError

    try:
        opened = Folder(folder)
        with opened.lock():
            rows = external.add(opened, name, samples, parameters, seconds, device, note)
    except FolderError as error:
        raise click.BadParameter(str(error), ctx) from None
    for row in rows:
        click.echo(f"{name}, seed {row['seed']}: {row['distance_name']} {row['scores'][row['distance_name']]:.3g}")
    click.echo(f"Results are in {folder}; `{ctx.parent.command_path} report {folder}` writes the page.")
