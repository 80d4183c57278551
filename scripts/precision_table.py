"""Write `keras_genzoo/recipes/precision.json` from rows that `python -m benchmarks.speed --only 'precision/*'` has measured.

python scripts/precision_table.py runs/speed.json
"""

import json
import sys
from pathlib import Path

from keras_genzoo.recipes import precision


def main(path):
    """What `dtype="auto"` looks at, of the rows in a file."""
    rows = json.loads(Path(path).read_text())
    table = {name.partition("/")[2]: entry(row) for name, row in sorted(rows.items()) if name.startswith("precision/")}
    precision.FILE.write_text(json.dumps(table, indent=1) + "\n")
    for name in table:
        precision.automatic(name)


def entry(row):
    columns = row["columns"]
    losses = {name: list(map(float, columns[f"losses in {name}"].split(", "))) for name in (precision.HALF, precision.WHOLE)}
    return {"times as fast": columns["times as fast"], **losses, "cpu": row["cpu"], "revision": row["revision"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
