"""What the process of a side does: it gets ready, says so, and works once for each line that it reads.

Of Python's own modules alone, because peers run it in an environment of their own.
"""

import json
import resource
import sys
import time


class Seconds(float):
    """What a work says of itself, where its whole time is not what is measured."""


def serve(prepare):
    """Answer until the input ends: what the side tells, then the seconds of each turn, then the peak of memory in MB.

    Args:
        prepare: function of what is asked, a dict, to a function that works once and a dict of what the side tells.
    """
    asked = json.loads(sys.stdin.readline())
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    work, told = prepare(asked)
    work()  # allocates, compiles
    print(json.dumps(told), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - started
        print(float(found) if isinstance(found, Seconds) else seconds, file=answers, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers)
