"""The benchmark: runs recipes at equal budgets, scores them beside controls, and writes the report.

`python -m benchmarks run | reproduce | report | list`, from a checkout of the repository.
"""
