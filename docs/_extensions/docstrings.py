"""Translate the package's docstrings, plain text with single backticks, to the reStructuredText that napoleon reads."""

import importlib
import inspect
import re

from docutils import nodes

import keras_genzoo

PACKAGE = keras_genzoo.__name__
MODULES = [
    *(name for name in keras_genzoo.__all__ if inspect.ismodule(getattr(keras_genzoo, name))),
    *keras_genzoo.LAZY,
]
SPAN = re.compile(r"(?P<literal>``.+?``)|`(?P<code>[^`]+)`(?P<suffix>\w)?|(?P<text>[^`]+|`)", re.DOTALL)


def members(module):
    """The public names of a module: its `__all__`, or what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = lambda value: getattr(value, "__module__", None) == module.__name__  # noqa: E731
    return [name for name, value in vars(module).items() if not name.startswith("_") and callable(value) and own(value)]


def _public():
    found = {name: f"{PACKAGE}.{name}" for name in keras_genzoo.__all__ if name not in MODULES}
    for name in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}") if name in keras_genzoo.LAZY else getattr(keras_genzoo, name)
        found[name] = module.__name__
        callables = (member for member in members(module) if callable(getattr(module, member)))  # others have no entry to lead to
        found |= {f"{name}.{member}": f"{module.__name__}.{member}" for member in callables}
    return found


PUBLIC = _public()


def target(code, module):
    """The full name of a public object that a docstring of `module` calls `code`, or None."""
    name = re.sub(rf"^({PACKAGE}|gz)\.", "", code.removesuffix("()"))
    if "." not in name and not name[:1].isupper() and name == code:
        return None  # more likely an argument than a function
    short = module.removeprefix(f"{PACKAGE}.")
    return next((PUBLIC[each] for each in (name, f"{short}.{name}") if each in PUBLIC), None)


def inline(text, module):
    """Plain text with `code` as reStructuredText: code is literal or a link, and everything else means itself."""

    def translate(part):
        if part["text"]:
            signs = r"(?<!^)(?<![ *])\*|\*(?!\*?\w+:)|\||(?<=\w)_(?!\w)"  # not the stars of `**kwargs:`, which napoleon reads
            return re.sub(signs, lambda sign: f"\\{sign[0]}", part["text"])
        if part["literal"]:
            return part["literal"]
        suffix = rf"\ {part['suffix']}" if part["suffix"] else ""
        found = target(part["code"], module)
        return (f":py:obj:`{part['code']} <{found}>`" if found else f"``{part['code'].strip()}``") + suffix

    return SPAN.sub(translate, text)


def indent(line):
    return len(line) - len(line.lstrip())


def block(lines, start, depth):
    """The end of the lines from `start` that are blank or indented deeper than `depth`, without blank ones behind."""
    end = start
    while end < len(lines) and (not lines[end].strip() or indent(lines[end]) > depth):
        end += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return end


def is_list(lines):
    """Whether each of the outermost of these lines begins with code, and there are several."""
    outer = min((indent(line) for line in lines if line.strip()), default=0)
    first = [line for line in lines if line.strip() and indent(line) == outer]
    return len(first) > 1 and all(line.lstrip().startswith("`") for line in first)


def bullets(lines):
    """These lines with a bullet before each of the outermost."""
    outer = min(indent(line) for line in lines if line.strip())
    return ["", *(f"{line[:outer]}{'- ' if indent(line) == outer else '  '}{line.strip()}" for line in lines), ""]


def in_list(line, depth):
    """Whether a line goes on with a list whose bullets are at this depth."""
    return indent(line) > depth or (indent(line) == depth and line.lstrip().startswith("- "))


def opens_formula(lines, position):
    """Whether a blank line and an indented block follow a line of text that is no argument of a section."""
    line, following = lines[position - 1], lines[position : position + 2]
    return (
        len(following) == 2
        and line.strip() != ""
        and following[0].strip() == ""
        and indent(following[1]) > indent(line)
        and not re.match(r"\s+\*{0,2}\w[\w, *]*: ", line)
    )


def is_aligned(lines, position):
    """Whether a paragraph begins here that is aligned by spaces, such as the losses of two networks one under the other."""
    following = lines[position:]
    paragraph = following[: following.index("")] if "" in following else following
    opens = indent(lines[position]) == 0 and (position == 0 or not lines[position - 1])
    return opens and any(re.search(r"\S {2,}\S", line) for line in paragraph)


def translate(lines, module):
    """A docstring as reStructuredText, list of lines."""
    out, text, position = [], [], 0

    def flush():
        out.extend(inline("\n".join(text), module).split("\n") if text else [])
        text.clear()

    while position < len(lines):
        line = lines[position]
        position += 1
        end = block(lines, position, indent(line)) if line.rstrip().endswith(":") else position
        inner = lines[position:end]
        if line.strip().startswith(">>>"):
            end = next((index for index in range(position, len(lines)) if not lines[index].strip()), len(lines))
            flush()
            out += [line, *lines[position:end]]
        elif is_aligned(lines, position - 1):
            flush()
            end = lines.index("", position) if "" in lines[position:] else len(lines)
            out += ["::", "", *(f"    {each}" for each in lines[position - 1 : end]), ""]
        elif line in ("Example:", "Examples:"):
            flush()
            out.append(f".. rubric:: {line[:-1]}")
            end = position
        elif line in ("Returns:", "Yields:"):  # napoleon would read what comes before a colon as a type
            flush()
            first, *others = translate([each[4:] for each in inner], module)
            out += ["", f":{line[:-1].lower()}: {first}", *(f"    {each}".rstrip() for each in others), ""]
        elif opens_formula(lines, position):
            end = block(lines, position, indent(line))
            inner = lines[position:end]
            text.append(line)
            flush()
            formula = ["", f"{' ' * indent(line)}::", *inner, ""]
            out += translate(bullets(inner), module) if is_list(inner) else formula
        elif line.lstrip().startswith("- "):  # a list, which needs blank lines around it
            end = next((at for at in range(position, len(lines)) if not in_list(lines[at], indent(line))), len(lines))
            text += ["", line, *lines[position:end], ""]
        elif is_list(inner):
            text.append(line)
            flush()
            out += translate(bullets(inner), module)
        else:
            text.append(line)
            end = position
        position = end
    flush()
    return out


def process(app, kind, name, thing, options, lines):
    module = next((f"{PACKAGE}.{each}" for each in MODULES if name.startswith(f"{PACKAGE}.{each}.")), PACKAGE)
    lines[:] = translate(list(lines), module)


def skip(app, kind, name, thing, skipped, options):
    """Leave out what classes inherit from Keras, TensorFlow and Python."""
    function = getattr(thing, "fget", None) or thing
    return True if not (getattr(function, "__module__", None) or PACKAGE).startswith(PACKAGE) else None


def sign(app, kind, name, thing, options, signature, returned):
    """The arguments of a class's `__init__`, where Sphinx sees those of the metaclass."""
    if kind == "class" and signature == "(*args, **kwargs)":
        parameters = list(inspect.signature(thing.__init__).parameters.values())[1:]
        return str(inspect.Signature(parameters)), returned
    return None


def show_examples(app, context, lines):
    """The examples in the help of a command as code."""
    text = "\n".join(lines)
    code = lambda match: f"\n\n.. code-block:: shell\n\n{re.sub('^[|] ', '', match[1], flags=re.MULTILINE)}\n\n"  # noqa: E731
    lines[:] = re.sub(r"^[|] Examples?:\n((?:[|]  .*(?:\n|$))+)", code, text, flags=re.MULTILINE).split("\n")


def dash(app, doctree, docname):
    """A dash between an argument and what it is; quotes and dashes of texts stay as they were typed."""
    for text in [each for each in doctree.findall(nodes.Text) if each == " -- "]:
        text.parent.replace(text, nodes.Text(" – "))


def names(app, docname, source):
    """The tables of a module that give its objects by name, in the place of `<!-- names of MODULE -->`."""

    def described(match):
        module, lines = getattr(keras_genzoo, match[1]), []
        for name, by_name in vars(module).items():
            if not (name.isupper() and isinstance(by_name, dict) and all(map(callable, by_name.values()))):
                continue
            made = {key: value if value.__name__ != "<lambda>" else type(value()) for key, value in by_name.items()}
            if all(each.__name__ in members(module) for each in made.values()):
                links = [f'| `"{key}"` | {{py:obj}}`{module.__name__}.{each.__name__}` |' for key, each in made.items()]
                lines += [f"`gz.{match[1]}.{name}`:", "", "| name | what it is |", "|---|---|", *links, ""]
        return "\n".join(lines)

    source[0] = re.sub(r"<!-- names of (\w+) -->", described, source[0])


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", sign)
    app.connect("sphinx-click-process-description", show_examples)
    app.connect("doctree-resolved", dash)
    app.connect("source-read", names)
    return {"parallel_read_safe": True}
