"""What our commands do before TensorFlow is imported; so this module imports neither it nor Keras."""

import importlib
import os
import re
import sys
import tempfile
from pathlib import Path

COMMANDS, MODULES = ("genzoo",), ("keras_genzoo.cli", "benchmarks", "keras_genzoo.tuning")
# TensorFlow 2.21 writes these while it is loaded, before it reads TF_CPP_MIN_LOG_LEVEL. Warnings and errors are "W" and "E".
NOTE = re.compile(rb"I\d{4} .*|WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR\n")


def is_command():
    """Whether this process is one of our commands, and not a program of a user."""
    module = dict(zip(sys.orig_argv, sys.orig_argv[1:], strict=False)).get("-m")
    return Path((sys.argv or [""])[0]).stem in COMMANDS or module in MODULES


def begin():
    """In a command of ours, import TensorFlow without its notes; what else is written to stderr meanwhile follows then."""
    if not is_command() or "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            os.write(2, b"".join(line for line in file if not NOTE.match(line)))
