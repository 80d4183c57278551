"""Images in: the data sets inside the package, folders, arrays, `tf.data` pipelines and TFDS by name."""

from keras_genzoo.data.arrays import names
from keras_genzoo.data.loading import Info, as_array, info, labelled, load, name_of
from keras_genzoo.data.neighbours import nearest_neighbours
from keras_genzoo.data.tfds import prepare

__all__ = ["Info", "as_array", "info", "labelled", "load", "name_of", "names", "nearest_neighbours", "prepare"]
