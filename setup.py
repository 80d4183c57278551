"""Compute the long description, which setup.cfg cannot: README without the links that only work inside the repository."""

import re
from pathlib import Path

from setuptools import setup

RELATIVE = r"""(?!\w[\w+.-]*:|//)[^)"'>]*"""  # no scheme such as https:
IMAGE = rf"""!\[[^\]]*\]\({RELATIVE}(?:"[^"]*")?\)|<img\b[^>]*\bsrc=["']{RELATIVE}["'][^>]*>"""
PARTS = re.compile(
    rf"""
      (?P<code>^(?P<fence>```+|~~~+).*?^(?P=fence)[ \t]*$|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))
    | ^(?:{IMAGE})[ \t]*\n\n*  # an image that has its line for itself goes with the line
    | {IMAGE}
    | \[(?P<text>[^\[\]]*)\]\(<?{RELATIVE}>?(?:"[^"]*")?\)
    | <a\b[^>]*\bhref=["']{RELATIVE}["'][^>]*>(?P<html>.*?)</a>
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)


def long_description(readme):
    """Return the Markdown text `readme` for a page elsewhere: relative links become their text, relative images go."""
    return PARTS.sub(lambda part: part["code"] or part["text"] or part["html"] or "", readme)


if __name__ == "__main__":
    setup(long_description=long_description(Path(__file__).with_name("README.md").read_text(encoding="utf-8")))
