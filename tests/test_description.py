"""The page of the wheel stands outside the repository: nothing in it points to a file of the repository."""

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CASES = {
    "See [the page](docs/page.md).": "See the page.",
    "See [`code`](docs/page.md#part).": "See `code`.",
    "Go to [a part](#part) of it.": "Go to a part of it.",
    'A [title](docs/page.md "of a page") too.': "A title too.",
    "Over\n[two\nlines](docs/page.md).": "Over\ntwo\nlines.",
    "[Keras](https://keras.io), [mail](mailto:a@b.example)": "[Keras](https://keras.io), [mail](mailto:a@b.example)",
    "# Title\n\n![a report](docs/report.png)\n\nText": "# Title\n\nText",
    "Beside ![a report](docs/report.png) text": "Beside  text",
    "![badge](https://example.org/badge.svg)": "![badge](https://example.org/badge.svg)",
    '<img src="docs/report.png" width="300">\n\nText': "Text",
    '<a href="docs/page.md">HTML</a> and <a href="https://keras.io">Keras</a>': 'HTML and <a href="https://keras.io">Keras</a>',
    "`calls[0](x)` and ``a ` [b](c)``": "`calls[0](x)` and ``a ` [b](c)``",
    "```python\nlosses[0](x)\n\n\n# ![no](image.png)\n```\n[text](page.md)": (
        "```python\nlosses[0](x)\n\n\n# ![no](image.png)\n```\ntext"
    ),
}


@pytest.fixture(scope="module")
def long_description():
    specification = importlib.util.spec_from_file_location("keras_genzoo_setup", REPOSITORY / "setup.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.long_description


def targets(markdown):
    """The targets of all links and images, by the parser of CommonMark and, for HTML, by its attributes."""
    parser = pytest.importorskip("markdown_it").MarkdownIt()
    tokens = [child for token in parser.parse(markdown) for child in (token, *(token.children or ()))]
    html = "".join(token.content for token in tokens if token.type in ("html_block", "html_inline"))
    return [token.attrs.get("href") or token.attrs.get("src") for token in tokens if token.type in ("link_open", "image")] + (
        re.findall(r"""(?:href|src)=["']([^"']*)""", html)
    )


@pytest.mark.parametrize("markdown", CASES)
def test_relative_links_become_text_and_relative_images_go(markdown, long_description):
    assert long_description(markdown) == CASES[markdown]


def test_the_description_of_readme_points_to_nothing_relative(long_description):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    description = long_description(readme)
    assert any(not target.startswith("http") for target in targets(readme))  # the parser sees what has to go
    assert [target for target in targets(description) if not target.startswith(("http://", "https://"))] == []


def test_the_description_keeps_the_code_and_the_headings_of_readme(long_description):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    description = long_description(readme)
    for pattern in (r"^```.*?^```", r"^#+ .*?$"):
        found = re.findall(pattern, readme, re.MULTILINE | re.DOTALL)
        assert found and re.findall(pattern, description, re.MULTILINE | re.DOTALL) == found


def test_setup_cfg_leaves_the_description_to_setup_py():
    assert "long_description =" not in (REPOSITORY / "setup.cfg").read_text()  # it would win over setup.py
