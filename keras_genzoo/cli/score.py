"""`genzoo score`: images of any origin, scored as those of a model are."""

import click

from keras_genzoo.cli import options
from keras_genzoo.cli.models import write_scores
from keras_genzoo.core import runs


@click.command(short_help="Score images that something else made.")
@click.argument("samples", type=options.FOLDER)
@click.option("--against", required=True, help="Real images, as --data of `train`, or statistics: a .npz of mu and sigma.")
@click.option("--train", help="Training images, to see what is memorised of them.")
@options.data_dir
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train", "all"]),
    help="Of --against.  [default: test, or all without splits]",
)
@click.option("--features", help="Features of the distances, as inception for FID.  [default: by the data]")
@click.option(
    "-n", "--n", "n", type=click.IntRange(2), help="Images of each kind, drawn from all.  [default: as many as both have]"
)
@options.image_size
@options.channels
@options.splits
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the draws of images.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=options.FOLDER, help="Write the JSON to this file too.")
@options.device
def score(samples, against, train, data_dir, split, features, n, image_size, channels, splits, seed, as_json, out, device):
    """Score the images in SAMPLES, which anything may have made, against real images.

    SAMPLES is a folder of images, at any depth, or a .npy or .npz file of one array: uint8 in 0..255 or floats in [0, 1], of the
    shape (n, height, width, channels), or (n, height, width) of gray images. Subfolders are classes, and so are whole numbers
    called labels in a .npz file.

    Against published statistics (pytorch-fid, clean-fid, the reference batches of ADM) there is the FID alone.

    \b
    Examples:
      genzoo score samples/ --against fashion_mnist_mini
      genzoo score samples.npz --against photos/test --train photos/train --features inception
      genzoo score samples.npz --against VIRTUAL_imagenet64_labeled.npz --features inception
    """
    import keras_genzoo as gz
    from keras_genzoo.data.loading import same_classes

    options.use_device(device)
    chosen = {"image_size": image_size, "channels": channels and int(channels)}
    statistics = gz.metrics.is_reference(against)
    labels = not statistics and same_classes(samples, against, data_dir, splits)
    made = read_samples(samples, labels=labels, **chosen)
    images, about = {"samples": made}, {"samples": str(samples), "against": against}
    if statistics:
        if given := [name for name, value in (("--train", train), ("--split", split)) if value]:
            raise click.UsageError(
                f"{against} holds statistics of images and no images, so {given[0]} means nothing; leave it out."
            )
        reference = gz.metrics.read_reference(against, spatial=features == "inception-spatial")
        array = gz.data.as_array(made, n, seed)
        if n is not None and len(array) < n:
            raise ValueError(f"n is {n}, but there are {len(array)} samples; give n up to that.")
        scores = gz.metrics.reference_scores(reference, array, features or "inception")
    else:
        split = split or own_split(against, data_dir, splits, "test")
        settings = {"shuffle": False, "data_dir": data_dir, "splits": splits, **chosen}
        labels = gz.data.labelled(against, data_dir, splits)
        real = images["against"] = gz.data.load(against, split, labels=labels, **settings)
        if train is not None:
            own = own_split(train, data_dir, splits, "train")
            images["train"] = gz.data.load(train, own, **settings)
            about["train"] = train
        about["split"] = split
        scores = gz.score_samples(made, real, images.get("train"), features, n, seed)
    about["images"] = runs.data_record(against, images)["images"]
    text = write_scores(about | scores, out)
    click.echo(text if as_json else table({name: value for name, value in scores.items() if name != "not_computed"}))
    if "not_computed" in scores:
        click.echo(f"{scores['not_computed']}.", err=True)


def read_samples(path, labels=False, image_size=None, channels=None):
    """All images of a file or folder, as `data.load` gives them; no splits are taken from it."""
    import keras_genzoo as gz

    settings = {"image_size": image_size, "channels": channels, "labels": labels, "shuffle": False, "splits": False}
    return gz.data.load(path, "all", **settings)


def own_split(source, data_dir, splits, split):
    """The split of a source that has splits of its own, and all of one that has none."""
    from keras_genzoo.data.loading import find

    return split if find(source, data_dir, splits).own_splits else "all"


def table(scores):
    """Scores as lines of a name and a value; of those by class a line a class."""
    lines = []
    for name, value in scores.items():
        lines += [(f"{name} {label}", each) for label, each in value.items()] if isinstance(value, dict) else [(name, value)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {f'{value:.5g}' if isinstance(value, float) else value}" for name, value in lines)
