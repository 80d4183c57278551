"""The peers, in a process of PyTorch and scikit-learn: reads what to do from standard input, and answers by lines.

The first line, of JSON, describes the work, and the first answer tells its parameters. Each line after it is a round, and each
line written its seconds; at the end of the input stands the peak memory in MB.
"""

import libraries  # beside this file, as all of these
import plain
import scored
from answering import serve


def prepare(asked):
    """What a peer does once, and what it tells, both checked against our side."""
    work, told = find(asked["work"])(asked)
    check(asked, told)
    return work, told


def find(name):
    """The function of a work, named by its module and itself: `plain.vae`."""
    module, _, function = name.partition(".")
    return getattr({"libraries": libraries, "plain": plain, "scored": scored}[module], function)


def check(asked, told):
    """Raise unless both sides train as many parameters, up to the share that the work allows."""
    ours, theirs = asked.get("parameters"), told.get("parameters")
    if ours and theirs and abs(theirs / ours - 1) > asked.get("tolerance", 0):
        raise ValueError(f"{asked['work']} has {theirs} parameters and our side {ours}, expected as many.")


if __name__ == "__main__":
    serve(prepare)
