"""Layers for networks in which the output at a pixel sees none but the pixels before it, in rows from the top left.

Two streams of features make such a network without blind spots. One sees the rows above, its convolutions are `wide`. The other
sees the pixels to the left as well. `Shift` begins a stream that does not see the pixel itself, and so does `mask="A"`.

`Rows` computes such a network some rows at a time, which is what sampling needs.
"""

from keras_genzoo.causal.convolutions import CausalConv2D, CausalConv2DTranspose, first_values, is_normalized
from keras_genzoo.causal.pixelwise import AppendOnes, ConcatELU, Gate, LevelEmbedding
from keras_genzoo.causal.rows import JOINED, PIXELWISE, Rows
from keras_genzoo.causal.shifts import Shift

__all__ = [
    "JOINED",
    "PIXELWISE",
    "AppendOnes",
    "CausalConv2D",
    "CausalConv2DTranspose",
    "ConcatELU",
    "Gate",
    "LevelEmbedding",
    "Rows",
    "Shift",
    "first_values",
    "is_normalized",
]
