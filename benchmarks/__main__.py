import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_genzoo.cli.benchmark import main

main(prog_name="python -m benchmarks")
