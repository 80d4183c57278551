"""The documentation site: `make docs` builds it into build/docs."""

import configparser
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions")]
setup_cfg = configparser.ConfigParser()
setup_cfg.read(HERE.parent / "setup.cfg")

project = "keras_genzoo"
release = setup_cfg["metadata"]["version"]
copyright = "the keras_genzoo developers"
language = "en"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "docstrings",
    "mathematics",
    "sphinx_copybutton",
    "myst_nb",
    "recipes",
    "models",
]
exclude_patterns = ["_extensions"]
highlight_language = "none"

# Every reference to something of ours must be found. Keras, NumPy and Python have sites of their own.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!keras_genzoo\b).*")]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

default_role = "literal"
smartquotes = False
add_module_names = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_custom_sections = [(name, "params_style") for name in ("Attributes", "Class attributes", "Class attributes of a family")]
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"keras_genzoo {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False


def drop_empty_patterns(app, docname, source):
    """Take patterns that match no page out of the tables of contents, where Sphinx would warn of them."""
    keep = lambda match: match[0] if any(HERE.glob(f"{match[1]}.md")) else ""  # noqa: E731
    source[0] = re.sub(r"^([\w-]+/?\*)\n", keep, source[0], flags=re.MULTILINE)


def setup(app):
    app.connect("source-read", drop_empty_patterns)
