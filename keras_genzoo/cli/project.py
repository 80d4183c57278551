"""`genzoo project`: the latents of images."""

import click

from keras_genzoo.cli import options
from keras_genzoo.cli.models import images_like, load
from keras_genzoo.core.files import replacing


@click.command(short_help="Find the latents of images, of a GAN.")
@click.argument("file", type=options.FOLDER)
@click.option("--images", "source", type=options.FOLDER, required=True, help="A folder or .npy/.npz file of images.")
@click.option(
    "--out", type=options.FOLDER, default="projected.png", help="A .png sheet; a .npz file of latents is put beside it."
)
@click.option("-n", "n", type=click.IntRange(1), default=32, help="Number of images, at most.")
@click.option(
    "--labels",
    type=options.Numbers(),
    help="Their classes between commas, taken in turn, of conditional models.  [default: those of the images]",
)
@click.option("--space", help="Where to look: z, and of StyleGANs w or w+.  [default: w of StyleGANs, else z]")
@click.option("--steps", type=click.IntRange(1), default=500, help="Steps of the descent.")
@click.option("--starts", type=click.IntRange(1), default=8, help="Starts for each image.")
@click.option("--learning-rate", type=options.POSITIVE, default=0.1, help="In standard deviations of the latents a step.")
@click.option("--weight", type=click.FloatRange(0), default=0.001, help="The more, the more likely are the latents as draws.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the starts.")
@options.device
@options.imports
def project(file, source, out, n, labels, device, imports, **settings):
    """Find the latents whose images are nearest to images, of the GAN in FILE, or in the folder of a run.

    The sheet has rows of images, and under each its reconstructions. The .npz file holds `latents`, as `model.sample(latents=)`
    takes them, and uint8 `images` and `reconstructions`.

    \b
    Examples:
      genzoo project runs/gan --images my_photos/ --out projected.png
      genzoo project runs/stylegan2 --images my_photos/ --space w+ --steps 1000
    """
    import numpy as np

    import keras_genzoo as gz
    from keras_genzoo.callbacks import pairs

    if out.suffix != ".png":
        raise click.BadParameter(f"{out} ends in {out.suffix or 'nothing'}, expected .png.", param_hint="--out")
    file, model = load(file, device, imports)
    if not hasattr(model, "project"):
        raise click.UsageError(f"{file} holds a {type(model).__name__}, which has no project; GANs do.")
    if labels is not None and not model.conditional:
        raise click.UsageError(f"{type(model).__name__} {model.name!r} has no classes; leave --labels out.")
    images, own = images_like(model, source, n, labels=model.conditional and labels is None)
    of = {"labels": own if labels is None else np.resize(labels, len(images))} if model.conditional else {}
    latents = np.asarray(model.project(images, **of, **settings))
    made = model.sample(latents=latents, seed=settings["seed"], **of)
    error = np.mean(np.square(np.asarray(model.images_of(images)) - made))
    arrays = {"latents": latents, "images": gz.images.to_levels(images), "reconstructions": gz.images.to_levels(made)} | of
    with replacing(out.with_suffix(".npz")) as temporary:
        np.savez_compressed(temporary, **{name: np.asarray(values) for name, values in arrays.items()})
    gz.images.write_png(out, *pairs(model, images, reconstructions=made))
    click.echo(
        f"{len(images)} images are in {out}, and their latents in {out.with_suffix('.npz')}; mean squared error {error:.4g}"
    )
