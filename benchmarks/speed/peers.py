"""The peers, in a process of PyTorch and scikit-learn: reads what to do from standard input, and answers by lines.

The first line, of JSON, describes the work, and the first answer tells its parameters. Each line after it is a round, and each
line written its seconds; at the end of the input stands the peak memory in MB.
"""

import json
import resource
import sys
import time

import libraries  # beside this file, as all of these
import plain
import scored


def main():
    asked = json.loads(sys.stdin.readline())
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    work, told = find(asked["work"])(asked)
    check(asked, told)
    work()  # allocates, compiles
    print(json.dumps(told), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, file=answers, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers)


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
    main()
