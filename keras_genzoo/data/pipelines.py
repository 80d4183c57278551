"""The user's own `tf.data` pipeline."""

import numpy as np
import tensorflow as tf

from keras_genzoo.core.images import check_dtype, check_images, check_layout, to_levels
from keras_genzoo.core.streams import Watch
from keras_genzoo.data.sources import Source, conform


class Pipeline(Source):
    """A `tf.data.Dataset` of images or of pairs (images, labels), of single ones (rank 3) or of batches (rank 4)."""

    name = "your tf.data pipeline"
    label_hint = "let it yield the pair (images, labels)"

    def __init__(self, dataset):
        spec = dataset.element_spec
        self.labelled = isinstance(spec, tuple) and len(spec) == 2
        image = spec[0] if self.labelled else spec
        if not isinstance(image, tf.TensorSpec):
            raise ValueError(
                f"Your tf.data pipeline yields {spec}, expected images or the pair (images, labels); "
                "use `.map` to pick them, as in `lambda x: (x['image'], x['label'])`."
            )
        if image.shape.rank not in (3, 4):
            raise ValueError(
                f"Your tf.data pipeline yields shape {image.shape}, expected images (height, width, channels) or batches of them."
            )
        check_dtype(image.dtype, f"The images of {self.name}")
        check_layout(image.shape[-3:], f"The images of {self.name}")
        self.dataset = dataset.unbatch() if image.shape.rank == 4 else dataset
        self.watch = Watch()

    def counts(self):
        n = int(self.dataset.cardinality())
        return {"given": n if n >= 0 else None}

    def image_shape(self):
        spec = self.dataset.element_spec
        return tuple((spec[0] if self.labelled else spec).shape)

    def stream(self, split, image_size, channels, labels):
        if labels and not self.labelled:
            raise self.no_labels()
        what = f"The images of {self.name}"
        for element in self.dataset.take(1):  # a clear error now, for what would be an obscure one within `fit`
            check_images(np.asarray(element[0] if self.labelled else element)[None], what)

        def convert(number, element):
            image, label = element if self.labelled else (element, None)
            if image.dtype.is_floating:
                with tf.control_dependencies([self.watch.check(number, image[None], what, batch=False)]):
                    image = tf.identity(image)
            image = conform(to_levels(image), image_size, channels, what)
            return (image, tf.cast(tf.reshape(label, ()), tf.int64)) if labels else image

        return self.dataset.enumerate().map(convert, tf.data.AUTOTUNE)
