"""Images in: the data sets inside the package, folders, files, arrays, tables, archives, `tf.data` pipelines and TFDS."""

from keras_genzoo.data.arrays import names
from keras_genzoo.data.collecting import as_array, as_batch
from keras_genzoo.data.loading import Info, conditioned, info, labelled, load, name_of
from keras_genzoo.data.neighbours import nearest_neighbours
from keras_genzoo.data.tfds import prepare

__all__ = [
    "Info",
    "as_array",
    "as_batch",
    "conditioned",
    "info",
    "labelled",
    "load",
    "name_of",
    "names",
    "nearest_neighbours",
    "prepare",
]
