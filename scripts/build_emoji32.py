"""Build keras_genzoo/data/shipped/emoji32.npz, the colour data set inside the package, from Noto's emoji.

    npm pack emoji-datasource-google@16.0.0
    pip install keras_genzoo[report]  # for pandas
    python scripts/build_emoji32.py emoji-datasource-google-16.0.0.tgz

Every emoji and each of its skin tones, 32 x 32 pixels, drawn over white; the label is its category. An emoji stays on one
side of the split with its skin tones and with every emoji that has a picture in common with it (the flag of Bouvet Island
is Norway's): of every category, a tenth of such groups is `validation` and a tenth `test`. Groups are chosen, and emoji
ordered, by a checksum of the code points: Unicode's own order puts alike beside alike. The same package gives the same
bytes.
"""

import argparse
import io
import json
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from keras_genzoo.core.files import replacing

OUT = Path(__file__).parents[1] / "keras_genzoo" / "data" / "shipped" / "emoji32.npz"
SIZE = 32
CELL = SIZE + 2  # every picture on the sheet has a transparent border of one pixel


def read(path):
    """The table of all pictures (one row each) and the pictures themselves `(n, 32, 32, 3)`."""
    with tarfile.open(path) as package:
        emoji = json.load(package.extractfile("package/emoji.json"))
        image = Image.open(io.BytesIO(package.extractfile("package/img/google/sheets/32.png").read())).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    sheet = np.asarray(white.convert("RGB"))

    rows, pictures = [], []
    for base in emoji:
        for entry in [base, *base.get("skin_variations", {}).values()]:
            top, left = entry["sheet_y"] * CELL + 1, entry["sheet_x"] * CELL + 1
            pictures.append(sheet[top : top + SIZE, left : left + SIZE])
            rows.append({"emoji": base["unified"], "category": base["category"]})
    return pd.DataFrame(rows), np.stack(pictures)


def checksums(codes):
    return codes.map(lambda code: zlib.crc32(code.encode()))


def splits(table, pictures):
    """The name of the split of every picture."""
    # Emoji and pictures are the nodes of a graph, and a group is a connected part of it.
    emoji = pd.factorize(table["emoji"])[0]
    picture = pd.factorize(pd.Series([one.tobytes() for one in pictures], dtype=object))[0] + len(table)
    edges = coo_matrix((np.ones(len(table)), (emoji, picture)), shape=(2 * len(table),) * 2)
    group = connected_components(edges, directed=False)[1][emoji]

    table = table.assign(group=group, checksum=checksums(table["emoji"]))
    groups = table.groupby("group").agg({"checksum": "min", "category": "first"}).sort_values("checksum", kind="stable")
    place = groups.groupby("category").cumcount()
    held_out = groups.groupby("category")["checksum"].transform("size").mul(0.1).round().clip(lower=1)
    names = np.select([place < held_out, place < 2 * held_out], ["validation", "test"], "train")
    return pd.Series(names, groups.index)[group].to_numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="emoji-datasource-google-16.0.0.tgz")
    table, pictures = read(parser.parse_args().package)
    split = splits(table, pictures)
    labels, class_names = pd.factorize(table["category"], sort=True)
    order = np.argsort(checksums(table["emoji"]), kind="stable")  # skin tones stay neighbours: they compress well

    arrays = {"class_names": np.array(class_names, str)}
    for name in ("train", "validation", "test"):
        chosen = order[split[order] == name]
        arrays[f"{name}_images"] = pictures[chosen]
        arrays[f"{name}_labels"] = labels[chosen].astype(np.uint8)
        # The code points of the emoji without skin tone: what must not occur in two splits.
        arrays[f"{name}_emoji"] = table["emoji"].to_numpy(str)[chosen]
        print(name, len(chosen))
    with replacing(OUT) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
