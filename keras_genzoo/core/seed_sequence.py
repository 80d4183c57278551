"""NumPy's `SeedSequence` in TensorFlow, for seeds that a graph is given.

The mixing of M. E. O'Neill's `seed_seq` without its faults (2015), as `numpy.random.SeedSequence` documents it and promises to
keep it: a pool of four words of 32 bits.
"""

import tensorflow as tf
from tensorflow import bitwise

INIT_A, MULT_A, INIT_B, MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
MIX_LEFT, MIX_RIGHT = 0xCA01F9DD, 0x4973F715
WORD = 0xFFFFFFFF


def key_of(seed, *numbers):
    """`SeedSequence([seed, *numbers]).generate_state(2, "uint64").view("int64")` of tensors.

    Args:
        seed: int64 scalar of at least 0.
        *numbers: two ints or int64 tensors of shapes that go together, at least 0 and below 2^32.

    Returns:
        int64 tensor `(..., 2)`.
    """
    seed = tf.cast(seed, tf.int64)
    first, second = numbers
    short, long = (seed, first, second, 0), (bitwise.bitwise_and(seed, WORD), bitwise.right_shift(seed, 32), first, second)
    pool = [tf.where(seed <= WORD, tf.cast(a, tf.int64), tf.cast(b, tf.int64)) for a, b in zip(short, long, strict=True)]
    constant = INIT_A

    def hashed(word, multiplier):
        nonlocal constant
        word, constant = bitwise.bitwise_xor(word, constant), constant * multiplier & WORD
        return _folded(word * constant)

    pool = [hashed(word, MULT_A) for word in pool]
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = _folded(pool[target] * MIX_LEFT - hashed(pool[source], MULT_A) * MIX_RIGHT)
    constant = INIT_B
    a, b, c, d = (hashed(word, MULT_B) for word in pool)
    return tf.stack([a + bitwise.left_shift(b, 32), c + bitwise.left_shift(d, 32)], axis=-1)


def _folded(word):
    # Products of two words overflow int64, whose last 32 bits are right all the same.
    word = bitwise.bitwise_and(word, WORD)
    return bitwise.bitwise_xor(word, bitwise.right_shift(word, 16))
