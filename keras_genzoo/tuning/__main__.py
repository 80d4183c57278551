"""`python -m keras_genzoo.tuning FOLDER [TRIAL]`: a process of a search.

It takes part as what KerasTuner's environment variables say, its chief or a worker. With a trial it runs that one, as told on
stdin.
"""

import json
import os
import sys

from keras_genzoo.core import devices
from keras_genzoo.core.processes import end_with_stdin
from keras_genzoo.tuning.search import Search
from keras_genzoo.tuning.trials import IMPORTS, SUPERVISED, Trials, run_trial


def main(folder, trial=None):
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # processes share a GPU
    if trial is None and SUPERVISED in os.environ:
        end_with_stdin()
    print(f"device: {devices.choose('auto')}", file=sys.stderr)
    search = Search.open(folder, json.loads(os.environ.get(IMPORTS, "[]")))
    if trial is None:
        Trials(search).search()
    else:
        run_trial(search, trial)


if __name__ == "__main__":
    main(*sys.argv[1:])
