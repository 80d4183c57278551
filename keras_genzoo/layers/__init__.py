"""Small layers that the network factories share."""

from keras_genzoo.layers.basic import (
    DepthToSpace,
    MaskedDense,
    Rematerialized,
    SelfAttention,
    SoftBound,
    SpaceToDepth,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    TimeEmbedding,
    check_rematerialized,
)
from keras_genzoo.layers.normalization import (
    BatchNormalization,
    ChannelNormalization,
    GroupNormalization,
    SynchronizedBatchNormalization,
)

__all__ = [
    "BatchNormalization",
    "ChannelNormalization",
    "DepthToSpace",
    "GroupNormalization",
    "MaskedDense",
    "Rematerialized",
    "SelfAttention",
    "SoftBound",
    "SpaceToDepth",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SynchronizedBatchNormalization",
    "TimeEmbedding",
    "check_rematerialized",
]
