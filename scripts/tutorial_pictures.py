"""The pictures of docs/tutorials and examples/first_hour.ipynb, of real runs: `python scripts/tutorial_pictures.py own_images`.

Runs all blocks of a page from top to bottom, in full, and keeps each picture that has its file in a comment above it:
`<!-- picture: runs/vae/samples.png -->`. What the blocks print goes to the terminal, to be compared with the page. The page
`first_hour` is the notebook, whose outputs are written into it. A page takes up to half an hour on two cores.
"""

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from family_pictures import pack
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES, NOTEBOOK = ROOT / "docs" / "tutorials", ROOT / "examples" / "first_hour.ipynb"
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n\n?)?```(python|shell)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^<!-- picture: (\S+) -->\n!\[.*?\]\((\S+?)\)$", re.MULTILINE)
WIDTH = 480  # pixels that a picture has at least; smaller ones grow by a whole factor


def run(text):
    """Run the blocks of a page in the current folder."""
    names = {"__name__": "page"}
    for skipped, language, code in BLOCK.findall(text):
        if skipped:
            continue
        start = time.perf_counter()
        print(code, flush=True)
        if language == "python":
            exec(compile(code, "page", "exec"), names)
        else:
            subprocess.run(["bash", "-euc", code], check=True)
        print(f"# {time.perf_counter() - start:.0f} s\n", flush=True)


def execute(notebook):
    """Write what the cells of a notebook show into it."""
    import nbclient
    import nbformat

    read = nbformat.read(notebook, 4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(read, timeout=None, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    for cell in read.cells:  # without the notes that TensorFlow writes while it is loaded
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if "absl::InitializeLog" not in output.get("text", "")]
    read.metadata["language_info"] = {"name": "python"}  # without the version of this machine
    nbformat.write(read, notebook)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", metavar="page", choices=[NOTEBOOK.stem, *(path.stem for path in PAGES.glob("*.md"))])
    parser.add_argument("--folder", type=Path, help="where the runs are kept; a temporary folder by default")
    arguments = parser.parse_args()
    for page in arguments.pages:
        if page == NOTEBOOK.stem:
            execute(NOTEBOOK)
            continue
        text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.folder or Path(temporary)) / page
            folder.mkdir(parents=True)
            os.chdir(folder)
            run(text)
            for source, target in PICTURE.findall(text):
                with Image.open(source) as image:
                    factor = -(-WIDTH // image.width)
                    size = image.width * factor, image.height * factor
                    pack(image.convert("RGB").resize(size, Image.Resampling.NEAREST), PAGES / target)
            os.chdir(PAGES)


if __name__ == "__main__":
    main()
