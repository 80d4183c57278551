"""Pages that hold all they need: their templates, styles and scripts, and the library that draws their plots."""

import functools
from pathlib import Path

from keras_genzoo.benchmark.cells import plain
from keras_genzoo.benchmark.results import FolderError
from keras_genzoo.core.files import replacing, to_json

PAGE = Path(__file__).parent / "page"


def render(template, **values):
    """The text of a template of the folder `page`; what stands in values is text on a page, and no markup.

    Args:
        template: str. Its name, as "report.html.j2".
        **values: what it shows.
    """
    return _environment().get_template(template).render(**values)


def write(path, text):
    """Write a page, or what lies beside it.

    Raises:
        FolderError: the folder cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{path.parent} cannot be written ({error.strerror}); copy it to where it can.") from None


@functools.cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=lambda name: ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"plain": plain, "json": _json}
    environment.globals |= {"asset": _asset, "library": _library}
    return environment


def _json(value):
    """JSON inside a script of a page, which no text in it can end."""
    from markupsafe import Markup

    return Markup(to_json(value).replace("<", "\\u003c"))


@functools.cache
def _asset(name):
    from markupsafe import Markup

    return Markup((PAGE / name).read_text(encoding="utf-8"))


@functools.cache
def _library():
    """Vega, Vega-Lite and Vega-Embed as one script of about a megabyte."""
    import vl_convert
    from markupsafe import Markup

    return Markup(vl_convert.javascript_bundle().replace("</script", "<\\/script"))
