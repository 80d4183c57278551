#!/usr/bin/env bash
# Build the wheel, install it into a fresh environment, and use it outside the checkout: page, data, weights, recipes, command.
set -euo pipefail
python=$(realpath -s "${1:-python3}")
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$checkout"
"$python" -m build --quiet --wheel --outdir "$work/dist" .
rm -rf build
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --constraint constraints.txt "$(echo "$work"/dist/*.whl)[report]"
cd "$work"
venv/bin/python - <<'PYTHON'
import re
from importlib.metadata import metadata

page = metadata("keras_genzoo").json["description"]
relative = re.findall(r"""(?:\]\(|(?:src|href)=["'])(?!https?://)[^)"']*""", page)
assert page.startswith("# keras_genzoo\n"), page[:80]
assert not relative, f"the description of the wheel points to {relative}, which exist in the repository only"
print("the description of the wheel has", len(page.splitlines()), "lines and no relative link or image")
PYTHON
venv/bin/genzoo list
venv/bin/genzoo train dense_autoencoder --epochs 1 --set width=32 --set components=2 --no-jit --out run
venv/bin/genzoo sample run/model.keras --out samples.png
venv/bin/genzoo evaluate run/model.keras -n 500
cp "$checkout/examples/made.py" .
venv/bin/genzoo benchmark run --recipes made --import made.py --set made.width=16 --steps 5 --n 50 --out bench
venv/bin/genzoo benchmark report bench
test -s bench/report.html
venv/bin/python - <<'PYTHON'
import keras_genzoo as gz

assert "site-packages" in gz.__file__, gz.__file__
for name in gz.data.names():
    print(gz.data.info(name))
print(gz.metrics.get("fashion-cnn").hash, sum(len(names) for names in gz.recipes.names().values()), "recipes")
PYTHON
echo "the wheel works on its own"
