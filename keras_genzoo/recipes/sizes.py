"""How hyperparameters follow the size of the images.

A recipe's values are those of images of up to 32 pixels a side. Beyond, networks halve the sides once more for each doubling of
the longer side, so that the coarsest grid keeps its 4 to 8 pixels, and codes have twice as many dimensions. Channels double at
each halving, up to eight times those of the first (`networks`).
"""

LARGEST = 32  # pixels on the longer side, of images for which a recipe's values stand as they are


def doublings(image_shape):
    """How often the longer side has doubled beyond 32 pixels, rounded up.

    Example:

    >>> [doublings((side, 20, 1)) for side in (8, 28, 32, 33, 64, 128)]
    [0, 0, 0, 1, 1, 2]
    """
    count = 0
    while max(image_shape[:2]) > LARGEST << count:
        count += 1
    return count


def whole_doublings(image_shape):
    """The same, rounded down: for networks that leave 4 pixels of 32 and not 8.

    Example:

    >>> [whole_doublings((side, 20, 1)) for side in (8, 32, 63, 64, 128)]
    [0, 0, 0, 1, 2]
    """
    return max(0, (max(image_shape[:2]) // LARGEST).bit_length() - 1)


def halvings(value, image_shape, values):
    """As many more halvings as the sides have doubled."""
    return value + doublings(image_shape)


def halvings_to_four(value, image_shape, values):
    """As many more halvings as the sides have wholly doubled."""
    return value + whole_doublings(image_shape)


def dimensions(value, image_shape, values):
    """Twice the dimensions for each doubling."""
    return value << doublings(image_shape)


def entries(value, image_shape, values):
    """A tuple with an entry a level, of which the last stands once more for each whole doubling."""
    return (*value, *value[-1:] * whole_doublings(image_shape))


def network(value, image_shape, values):
    """Convolutions for what is too large for fully connected layers."""
    return "convolutional" if doublings(image_shape) else value


def downsampling(value, image_shape, values):
    """Twice the factor for images of more than 32 pixels: 8 in the place of 4, at every larger size; None stays."""
    return 2 * value if value and doublings(image_shape) else value


def halvings_of_network(value, image_shape, values, kind="network"):
    """Of a convolutional network, as the hyperparameter `kind` says; a fully connected one has as many layers at every size."""
    return halvings(value, image_shape, values) if values[kind] == "convolutional" else value


def width_of_network(value, image_shape, values, kind="network"):
    """Units of fully connected layers, or a sixteenth as many channels of the first convolution."""
    return max(1, value // 16) if values[kind] == "convolutional" else value
