"""The pictures of docs/tutorials and examples/first_hour.ipynb, of real runs: `python scripts/tutorial_pictures.py own_images`.

Runs all blocks of a page from top to bottom, in full, and keeps each picture that has its file in a comment above it:
`<!-- picture: runs/vae/samples.png -->`, or of a page an element, `<!-- picture: runs/tune/report.html .answer -->`, which
Debian's Chromium shows. What the blocks print goes to the terminal, to be compared with the page. The page
`first_hour` is the notebook, whose outputs are written into it. A page takes up to half an hour on two cores.
"""

import argparse
import io
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
PICTURE = re.compile(r"^<!-- picture: (\S+)(?: (\S+))? -->\n!\[.*?\]\((\S+?)\)$", re.MULTILINE)
WIDTH = 480  # pixels that a picture has at least; smaller ones grow by a whole factor
NOTES = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} ")  # how TensorFlow's own lines begin
CHROMIUM, SCREEN = "/usr/bin/chromium", {"width": 1000, "height": 800}


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


def opened(source, element):
    """The picture of a file, or of an element of a page."""
    if source.endswith(".svg"):
        import vl_convert

        return Image.open(io.BytesIO(vl_convert.svg_to_png(Path(source).read_text("utf-8"), scale=1.4)))
    if not element:
        return Image.open(source)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page(
            viewport=SCREEN, device_scale_factor=2
        )
        page.goto(Path(source).resolve().as_uri())
        if page.locator(".plot").count():
            page.wait_for_selector("html[data-plots=drawn]", state="attached")
        image = Image.open(io.BytesIO(page.locator(element).first.screenshot()))
        image.thumbnail((SCREEN["width"], SCREEN["width"]))
        return image


def execute(notebook):
    """Write what the cells of a notebook show into it."""
    import nbclient
    import nbformat

    read = nbformat.read(notebook, 4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(read, timeout=None, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    for cell in read.cells:  # without the notes that TensorFlow writes while it is loaded
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not NOTES.match(output.get("text", ""))]
    read.metadata["language_info"] = {"name": "python"}  # without the version of this machine
    nbformat.write(read, notebook)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", metavar="page", choices=[NOTEBOOK.stem, *(path.stem for path in PAGES.glob("*.md"))])
    parser.add_argument("--folder", type=Path, help="where the runs are kept; a temporary folder by default")
    parser.add_argument("--no-run", action="store_true", help="only take the pictures of the runs in --folder")
    arguments = parser.parse_args()
    for page in arguments.pages:
        if page == NOTEBOOK.stem:
            execute(NOTEBOOK)
            continue
        text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.folder or Path(temporary)) / page
            folder.mkdir(parents=True, exist_ok=arguments.no_run)
            os.chdir(folder)
            if not arguments.no_run:
                run(text)
            for source, element, target in PICTURE.findall(text):
                with opened(source, element) as image:
                    factor = -(-WIDTH // image.width)
                    size = image.width * factor, image.height * factor
                    pack(image.convert("RGB").resize(size, Image.Resampling.NEAREST), PAGES / target)
            os.chdir(PAGES)


if __name__ == "__main__":
    main()
