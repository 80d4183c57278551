"""Pictures inside a page: as data URIs of a limited length."""

import base64
import io

import numpy as np

from keras_genzoo.core.images import tile

LIMIT = 60_000  # characters of a picture in a page
QUALITIES = 90, 75, 60, 45, 30
STRIP = 8  # images of a row in the strip at the top


def embedded(path, limit=LIMIT):
    """A picture of a file as a data URI.

    Sheets are written with pixels of 2x2; the page stores each once and lets the browser enlarge them. What is still too long
    loses details first and then size.

    Args:
        path: Path of a picture.
        limit: int. The most characters. Defaults to 60,000.

    Returns:
        str.
    """
    from PIL import Image

    with Image.open(path) as image:
        return encoded(Image.fromarray(smallest(np.asarray(image))), limit)


def smallest(pixels):
    """The pixels, each once, of a picture that was enlarged by a whole number; an array with the height and width first."""
    for factor in (4, 3, 2):
        once = pixels[::factor, ::factor]
        again = once.repeat(factor, axis=0).repeat(factor, axis=1)
        if again.shape == pixels.shape and (again == pixels).all():
            return smallest(once)
    return pixels


def strip(images, count=STRIP, limit=LIMIT):
    """The first images of an array side by side, two rows of `count` / 2, as a data URI.

    Args:
        images: uint8, or floats in [0, 1], `(n, height, width, channels)`.
        count: int. Defaults to 8.
        limit: int. The most characters. Defaults to 60,000.
    """
    from PIL import Image

    return encoded(Image.fromarray(tile(images[:count], max(1, count // 2))), limit)


def encoded(image, limit=LIMIT):
    """A data URI of a `PIL.Image`: WebP without loss if that is short enough, else with more and more of it, and smaller at last.

    Args:
        image: `PIL.Image`.
        limit: int. The most characters.

    Returns:
        str.
    """
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    while True:
        for settings in ({"lossless": True, "quality": 100}, *({"quality": quality} for quality in QUALITIES)):
            text = _webp(image, **settings)
            if len(text) <= limit or min(image.size) <= 16:
                return text
        image = image.resize([max(16, size * 3 // 4) for size in image.size])


def _webp(image, **settings):
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", method=4, **settings)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
