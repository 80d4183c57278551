"""Draw docs/gallery.md and docs/strip.png from folders of the benchmark.

`python scripts/gallery.py runs/choice/* runs/headline --strip runs/headline` is the command.

The gallery has a grid of samples of each recipe, of the first seed that a folder has, beside what this very model took and
scored. Where several folders hold a recipe, the last one counts. The strip has a row of samples for each family, from the folder
that `--strip` names.
"""

import argparse
from pathlib import Path

import numpy as np
from family_pictures import pack
from PIL import Image, ImageDraw, ImageFont

from keras_genzoo import recipes
from keras_genzoo.benchmark.results import Folder, label
from keras_genzoo.core import runs

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = DOCS / "images" / "gallery"
COLUMNS, SHOWN, SCALE = 8, 32, 2  # of a grid
WIDE, NAMED = 16, 150  # images of a row of the strip, pixels of its names
HEAD = """# Gallery

Each picture shows 32 samples that nobody chose, of the first seed. The distance beside it is that of this very model, of one
seed: it describes the picture and ranks nothing. [The benchmark](guides/benchmark.md#results) compares with several seeds.
Compare distances from equally many images and after equally long training only.
"""


def first_rows(folders):
    """The rows of the gallery by label, each with its folder: of recipes as they are, of their first seeds."""
    found = {}
    for folder in map(Folder, folders):
        rows = [row for row in folder.rows() if row["kind"] == "recipe" and row["status"] == "ok" and not row["overrides"]]
        for row in sorted(rows, key=lambda row: -row["seed"]):
            if (folder.files(row) / "images.npz").exists():
                found[runs.renamed(row) or label(row)] = folder, row
    return found


def samples(folder, row):
    """The samples of a run, uint8 `(n, height, width, channels)`."""
    with np.load(folder.files(row) / "images.npz") as arrays:
        return arrays["samples"]


def sheet(images, columns):
    """Images side by side, row after row, on white."""
    height, width, channels = images.shape[1:]
    rows = -(-len(images) // columns)
    page = np.full((rows * (height + 2), columns * (width + 2), channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
        page[top : top + height, left : left + width] = image
    return Image.fromarray(page.repeat(3, axis=-1) if channels == 1 else page)


def gallery(folders):
    """Write docs/gallery.md and its pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    found, parts = first_rows(folders), [HEAD]
    for family, names in recipes.names().items():
        shown = [name for name in names if name in found]
        if not shown:
            continue
        parts.append(f"## {family.upper() if len(family) == 3 else family.capitalize()}\n")  # GAN, Flow
        for name in shown:
            folder, row = found[name]
            page = sheet(samples(folder, row)[:SHOWN], COLUMNS)
            pack(page.resize((page.width * SCALE, page.height * SCALE), Image.Resampling.NEAREST), PICTURES / f"{name}.webp")
            picture = f"![Samples of {name}](images/gallery/{name}.webp)"
            parts.append("\n\n".join([f"### `{name}`", recipes.get(name).summary, picture, facts(folder, row) + "\n"]))
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def facts(folder, row):
    """What a model took and scored, a sentence."""
    name, scores = row["distance_name"], row["scores"]
    trained = f"{row['actual_s']:.0f} seconds, {row['steps']:,} steps of {folder.settings['batch_size']}"
    against = f"from {scores['n_real']:,} {folder.settings['split']} images"
    return (
        f"{trained}; {row['params']:,} parameters; {name} {scores[name]:.3g} {against}; "
        f"{row['sample_images_per_s']:,.0f} samples a second (two CPU cores)."
    )


def strip(path):
    """Write docs/strip.png: a row of samples for each family."""
    lines = [(row["family"], samples(folder, row)[:WIDE]) for folder, row in first_rows([path]).values()]
    order = list(recipes.names())
    pages = [(family, sheet(images, WIDE)) for family, images in sorted(lines, key=lambda line: order.index(line[0]))]
    height = pages[0][1].height
    whole = Image.new("RGB", (NAMED + pages[0][1].width * SCALE, len(pages) * height * SCALE), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=20)
    for index, (family, page) in enumerate(pages):
        large = page.resize((page.width * SCALE, height * SCALE), Image.Resampling.NEAREST)
        whole.paste(large, (NAMED, index * height * SCALE))
        draw.text((4, (index + 0.5) * height * SCALE), family, fill="black", font=font, anchor="lm")
    whole.quantize(64).save(DOCS / "strip.png", optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--strip", type=Path, help="folder of the strip")
    arguments = parser.parse_args()
    gallery(arguments.folders)
    if arguments.strip:
        strip(arguments.strip)


if __name__ == "__main__":
    main()
