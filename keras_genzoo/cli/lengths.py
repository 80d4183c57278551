"""How long `genzoo train` trains: batches that suit the number of images, and what is said of it before and after."""

import csv
import math

BATCH, SMALLEST = 128, 16
FEW, ENOUGH = 1000, 3000  # steps below which a hint is given, and those that it leads to
LOOKS, SHARE = 10, 0.1  # epochs from which a rise counts, and the share of the fall before it that it must have


def fitting_batch(count):
    """Images in a batch: 128, or a smaller power of two of which an epoch holds some ten.

    Args:
        count: int or None. Training images, where their number is known.

    Example:

    >>> [fitting_batch(count) for count in (None, 60_000, 1000, 400, 20)]
    [128, 128, 64, 32, 16]
    """
    if count is None:
        return BATCH
    return min(BATCH, max(SMALLEST, 2 ** int(math.log2(max(1, count / 10)))))


def told(images, shape, info, split_by_name, batch_size, steps, epochs):
    """What a training is about to do, in a sentence, with a hint where its steps are few.

    Args:
        images: dict of splits to numbers of images, None where a number is not known.
        shape: `(height, width, channels)`.
        info: `data.Info`.
        split_by_name: bool. Whether the splits came with the data.
        batch_size: int.
        steps: int or None. Steps an epoch, None where unknown.
        epochs: int.

    Example:

    >>> info = gz.data.info("emoji32")
    >>> print(told({"train": 400}, (9, 9, 3), info, False, 128, 3, 20))
    400 train images of 9x9x3, 10 classes, split here; 3 steps of 128 an epoch, 60 in all: few; try --batch-size 32 --epochs 250
    """
    counts = " / ".join(f"{'?' if count is None else f'{count:,}'} {split}" for split, count in images.items())
    classes = f", {len(info.class_names)} classes" if info.class_names else ""
    sentence = f"{counts} images of {'x'.join(map(str, shape))}{classes}, split {'by name' if split_by_name else 'here'}"
    if steps is None:
        return f"{sentence}; batches of {batch_size}"
    sentence += f"; {steps:,} {'step' if steps == 1 else 'steps'} of {batch_size} an epoch, {steps * epochs:,} in all"
    if steps * epochs >= FEW:
        return sentence
    fitting = min(batch_size, fitting_batch(images["train"]))
    smaller = f"--batch-size {fitting} " if fitting < batch_size else ""
    an_epoch = max(1, images["train"] // fitting) if images["train"] else steps
    return f"{sentence}: few; try {smaller}--epochs {math.ceil(ENOUGH / an_epoch)}"


def risen(history, monitor):
    """A sentence where the validation loss fell and then rose, as it does when images are learned by heart; None elsewhere.

    Args:
        history: Path of `history.csv`.
        monitor: str or None. The loss that tells how good the model is.
    """
    if monitor is None or not history.exists():
        return None
    with open(history, newline="", encoding="utf-8") as file:
        values = [float(row[f"val_{monitor}"]) for row in csv.DictReader(file) if row.get(f"val_{monitor}")]
    if len(values) < LOOKS:
        return None
    lowest = min(values)
    if not values[-1] - lowest > SHARE * (values[0] - lowest) > 0:
        return None
    return (
        f"val_{monitor} was lowest, {lowest:.4g}, in epoch {values.index(lowest) + 1} of {len(values)} and is {values[-1]:.4g} "
        f"now: the model learns its images by heart; train for fewer epochs, or --flip, or --keep-best val_{monitor}."
    )
