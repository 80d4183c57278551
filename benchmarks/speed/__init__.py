"""How fast training, sampling and scores are, beside the usual ways: `python -m benchmarks.speed`."""
