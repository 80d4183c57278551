"""The plots of the pages, as Vega-Lite specifications, and as SVG beside the Markdown.

Ink is `currentColor`, so that a plot takes the colour of the text around it, in the light and in the dark. A model is told from
others by its colour together with the shape of its points and the dashes of its lines.
"""

import collections
import math

import altair as alt
import numpy as np

from keras_genzoo.benchmark import rounding, scores

# Each has a contrast of at least 3 to white and to the dark page.
COLOURS = "#3b7dd8", "#d9731a", "#2e9e4f", "#d63d3d", "#8f5fd0", "#96653c", "#d65ba5", "#7d7d7d", "#7f961c", "#1a96a8"
SHAPES = "circle", "square", "triangle-up", "diamond", "cross", "triangle-down"
DASHES = [1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 2, 1, 2, 1, 2]
INK = "currentColor"
# The costs that a plot sets distances against, and what their axes say.
COSTS = {
    "train_flops": "floating-point operations of training",
    "sample_images_per_s": "images sampled a second, 256 at a time",
    "params": "parameters",
}
COPY = "copy of training images"
FAR = 4.0  # the factor that a bar of uncertainty is cut at: an interval of two seeds may span dozens of orders
SHORT, WHOLE = alt.Axis(format="~s"), alt.Axis(format="d", tickMinStep=1)  # numbers as 1k, 1M and 1G, and whole ones
MISSING = object()  # a hyperparameter that has no effect in a trial; None is a value


def styles(names):
    """How models are drawn: a dict of names to dicts of `colour`, `shape` and `dash`; 60 of them differ.

    Example:

    >>> from keras_genzoo.benchmark import plots
    >>> plots.styles(["gan", "vae"])["vae"]
    {'colour': '#d9731a', 'shape': 'circle', 'dash': [1, 0]}
    """
    found = {}
    for index, name in enumerate(names):
        turn = index // len(COLOURS) % len(SHAPES)
        found[name] = {"colour": COLOURS[index % len(COLOURS)], "shape": SHAPES[turn], "dash": DASHES[turn]}
    return found


def svg(spec):
    """The plot of a specification, text of SVG."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec)


def distance_against_cost(ranking, names, key):
    """Distance against a cost, of models that tell both, with 95 % intervals and the Pareto front.

    Args:
        ranking: `Ranking`.
        names: list of str. All models of the page, in the order of their colours.
        key: str. The cost, one of `COSTS`.

    Returns:
        dict, or None where no model tells both. Controls are lines.
    """
    name, models, controls = ranking.distance_name, [], []
    for entry in ranking.entries:
        distance, cost = entry.interval(name), entry.interval(key)
        if distance is None or distance[0] <= 0:
            continue
        if entry.control:
            controls += [{"control": entry.label, "y": distance[0]}] * (entry.label != COPY)  # which lies on the floor
        elif cost and cost[0] > 0:
            models.append({"model": entry.label, **_bars(distance, "y"), **_bars(cost, "x"), **_told(distance, cost[0])})
    if not models:
        return None
    rises = scores.of(key).better == scores.HIGHER
    front = _front([(row["x"], row["y"]) for row in models if row["model"] not in ranking.apart], rises)
    x, y = _axis(alt.X, COSTS[key], [row["x"] for row in models], SHORT), _axis(alt.Y, name, [1.0])
    coloured = _coloured(names)
    base = _only("model").encode(color=coloured["color"])
    layers = [
        _only("control").mark_rule(color=INK, opacity=0.5, strokeDash=[1, 3]).encode(y=y("y")),
        _only("control")
        .mark_text(align="right", baseline="bottom", color=INK, opacity=0.7, dy=-2)
        .encode(y=y("y"), x=alt.value("width"), text="control:N"),
        _front_line("step-before" if rises else "step-after", x, y),
        base.mark_rule(opacity=0.7).encode(x=x("x"), y=y("y_low"), y2="y_high:Q"),
        base.mark_rule(opacity=0.7).encode(y=y("y"), x=x("x_low"), x2="x_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            x=x("x"), y=y("y"), shape=coloured["shape"], tooltip=_tips(model="model", told=name, cost=COSTS[key])
        ),
    ]
    return _finished(layers, controls + front + models, choose=True)


def distance_against_time(entries, names, name):
    """Distance on the validation split while training: a line a model, its mean over seeds, in a band from the lowest seed to the
    highest, and the front of all models; None where no run measured it."""
    rows = [{"model": entry.label, **point} for entry in entries for point in over_seeds(entry.rows, "distance")]
    rows = [row for row in rows if row["y_low"] > 0]
    if not rows:
        return None
    x, y = _axis(alt.X, "seconds of training", []), _axis(alt.Y, f"{name}, validation split", [1.0])
    coloured = _coloured(names)
    base = _only("model").encode(x=x("x"), color=coloured["color"])
    layers = [
        _front_line("step-after", x, y),
        base.mark_area(opacity=0.15).encode(y=y("y_low"), y2="y_high:Q"),
        base.mark_line(strokeWidth=1.5).encode(y=y("y"), strokeDash=coloured["strokeDash"]),
        base.mark_point(filled=True, size=40, opacity=1).encode(
            y=y("y"), shape=coloured["shape"], tooltip=_tips(model="model", told=name, steps="steps")
        ),
    ]
    return _finished(layers, _front([(row["x"], row["y"]) for row in rows], False) + rows, choose=True)


def over_seeds(rows, key):
    """What the learning curves of several seeds say together at each number of steps.

    Args:
        rows: list of rows, each with a `curve`, a list of points `{"steps", "seconds", key, ...}`.
        key: str. Of the number.

    Returns:
        list of dicts, in the order of steps: `steps`, the mean seconds `x`, the mean `y`, the lowest and the highest of the seeds
        `y_low` and `y_high`, and `told`, the last three as a text.
    """
    found = collections.defaultdict(list)
    for row in rows:
        for index, point in enumerate(row.get("curve") or ()):
            if None not in (point.get("seconds"), point.get(key)):
                found[point.get("steps", index)].append((point["seconds"], point[key]))
    listed = []
    for steps in sorted(found):
        seconds, values = (list(each) for each in zip(*found[steps], strict=True))
        mean, low, high = float(np.mean(values)), min(values), max(values)
        told = f"{mean:.4g} ({low:.4g} to {high:.4g})" if len(values) > 1 else f"{mean:.4g}"
        listed.append({"steps": steps, "x": float(np.mean(seconds)), "y": mean, "y_low": low, "y_high": high, "told": told})
    return listed


def learning_curve(rows):
    """Training and validation loss against seconds of training, the means over seeds in bands from the lowest seed to the
    highest; None where there is none."""
    kinds = {"train": "loss", "validation": "val_loss"}
    found = [{"loss": title, **point} for title, key in kinds.items() for point in over_seeds(rows, key)]
    if not found:
        return None
    # The first segment's loss dwarfs what follows.
    first = min(row["steps"] for row in found)
    later = sorted(row[end] for row in found if row["steps"] != first for end in ("y_low", "y_high"))
    limits = {}
    if len(later) > 8 and later[0] < later[-1]:
        margin = 0.1 * (later[-1] - later[0])
        limits = {"domain": [later[0] - margin, later[-1] + margin]}
    x, y = _axis(alt.X, "seconds of training", []), _axis(alt.Y, "loss", [], **limits)
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    color = alt.Color("loss:N", legend=legend, scale=alt.Scale(domain=list(kinds), range=list(COLOURS[:2])))
    dash = alt.StrokeDash("loss:N", legend=legend, scale=alt.Scale(domain=list(kinds), range=list(DASHES[:2])))
    base = alt.Chart().encode(x=x("x"), color=color)
    layers = [
        base.mark_area(opacity=0.2, clip=True).encode(y=y("y_low"), y2="y_high:Q"),
        base.mark_line(strokeWidth=1.5, clip=True).encode(y=y("y"), strokeDash=dash),
        base.mark_point(filled=True, size=30, opacity=1, clip=True).encode(
            y=y("y"), tooltip=_tips(loss="loss of", told="loss", steps="steps")
        ),
    ]
    return _finished(layers, found, 340, 220)


def distance_against_evaluations(points, name):
    """Distance against calls of the network for an image, a line a sampler; None where none is known."""
    known = [point for point in points if (point["distance"] or 0) > 0]
    if not known:
        return None
    rows = [
        {"sampler": each["sampler"], "x": each["evaluations"], "y": each["distance"], "told": f"{each['distance']:.4g}"}
        for each in known
    ]
    coloured = _coloured(list(dict.fromkeys(row["sampler"] for row in rows)), "sampler", legend=alt.Legend(title=None))
    x, y = _axis(alt.X, "network calls an image", [1.0]), _axis(alt.Y, name, [1.0])
    base = alt.Chart().encode(x=x("x"), y=y("y"), color=coloured["color"])
    tips = _tips(sampler="sampler", told=name, x="network calls")
    layers = [
        base.mark_line(strokeWidth=1.5),
        base.mark_point(filled=True, size=50, opacity=1).encode(shape=coloured["shape"], tooltip=tips),
    ]
    return _finished(layers, rows, 340, 220)


def objective_over_trials(rows, name, sign):
    """The objective of every trial in order, and the best so far."""
    values = [row["results"][name] for row in rows]
    best = [sign * min(sign * value for value in values[: index + 1]) for index in range(len(values))]
    points = [{"trial": row["trial"], "x": at, "y": row["results"][name]} for at, row in enumerate(rows, 1)]
    lines = [{"front": "best so far", "x": at, "y": value} for at, value in enumerate(best, 1)]
    return _trials(points, lines, "step-after", _axis(alt.X, "trials so far", [], WHOLE), _axis(alt.Y, name, values), name)


def front(rows, cost, name, sign):
    """The objective against a cost, with the trials that none beats in both joined by a line, the Pareto front."""
    points = [{"trial": row["trial"], "x": row["results"][cost], "y": row["results"][name]} for row in rows]
    lines = _front([(row["x"], sign * row["y"]) for row in points], False)
    lines = [{**row, "y": sign * row["y"]} for row in lines]
    x = _axis(alt.X, cost.replace("_", " "), [row["x"] for row in points])
    return _trials(points, lines, "step-after", x, _axis(alt.Y, name, [row["y"] for row in points]), name)


def _trials(points, lines, interpolate, x, y, name):
    told = [{**row, "told": f"{row['y']:.4g}"} for row in points]
    marks = _only("trial").mark_point(filled=True, size=60, opacity=0.9, color=COLOURS[0])
    layers = [_front_line(interpolate, x, y), marks.encode(x=x("x"), y=y("y"), tooltip=_tips(trial="trial", told=name))]
    return _finished(layers, lines + told, 340, 240)


def parallel_coordinates(rows, space, name, sign):
    """A line a trial across an axis for each hyperparameter that several trials have, and one for the objective."""
    keys = [key for key in space if sum(key in row["hyperparameters"] for row in rows) > 1]
    columns = {key: [row["hyperparameters"].get(key, MISSING) for row in rows] for key in keys}
    columns[name] = [row["results"][name] for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -sign * rows[index]["results"][name])
    shade = {index: (place + 1) / len(rows) for place, index in enumerate(order)}
    lines, marks = [], []
    for key, values in columns.items():
        heights, texts = _heights(values)
        marks += [{"axis": key, "y": height, "text": text} for height, text in texts]
        lines += [
            {
                "trial": rows[index]["trial"],
                "axis": key,
                "y": height,
                "shade": shade[index],
                "told": f"{columns[name][index]:.4g}",
            }
            for index, height in enumerate(heights)
            if height is not None
        ]
    x = alt.X("axis:N", title=None, sort=list(columns), axis=alt.Axis(labelAngle=-30, grid=True))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.05, 1.05], nice=False))
    opacity = alt.Opacity("shade:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.08, 1]))
    line = _only("trial").mark_line(strokeWidth=2, color=COLOURS[0])
    written = _only("text").mark_text(align="left", dx=5, color=INK, fontSize=10)
    layers = [
        line.encode(x=x, y=y, detail="trial:N", opacity=opacity, tooltip=_tips(trial="trial", told=name)),
        written.encode(x=x, y=y, text="text:N"),
    ]
    return _finished(layers, lines + marks, 900, 320)


def _heights(values):
    """Heights in [0, 1] of one axis's values, None where one is missing, and what is written at which height."""
    known = [value for value in values if value is not MISSING]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        scale = math.log if low > 0 and high > 5 * low else float
        spread = scale(high) - scale(low) or 1.0
        marks = [(place, f"{end:,}" if isinstance(end, int) else f"{end:.3g}") for place, end in ((0.0, low), (1.0, high))]
        return [None if value is MISSING else (scale(value) - scale(low)) / spread for value in values], marks
    names = sorted({str(value) for value in known})
    height = {text: index / max(1, len(names) - 1) for index, text in enumerate(names)}
    return [height.get(str(value)) for value in values], [(height[text], text) for text in names]


def _bars(found, axis):
    """A mean and the ends of its interval, near enough to be seen, as fields of an axis."""
    mean, low, high = found
    low, high = (mean, mean) if low is None else (max(low, mean / FAR), min(high, mean * FAR))
    return {axis: mean, f"{axis}_low": low, f"{axis}_high": high}


def _told(distance, cost):
    """What hovering over a model tells."""
    told = rounding.uncertain(*distance).replace("\u00a0", " ")
    return {"told": told, "cost": rounding.number(cost) if cost < 1e9 else f"{cost:.2e}"}


def _tips(**titles):
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def _only(field):
    """A layer of the rows that have a field."""
    return alt.Chart().transform_filter(f"isValid(datum.{field})")


def _axis(channel, title, values, axis=alt.Undefined, **settings):
    """A function of a field to its place on one axis, logarithmic where there are values and all are above 0."""
    kind = {"type": "log"} if values and min(values) > 0 else {"zero": False}
    scale = alt.Scale(**kind, nice=False, **({"padding": 12} if "domain" not in settings else {}), **settings)
    return lambda field: channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def _coloured(names, field="model", **settings):
    """The encodings of colour, shape and dashes that tell names from one another."""
    found = styles(names)

    def scale(of):
        return alt.Scale(domain=list(found), range=[each[of] for each in found.values()])

    return {
        "color": alt.Color(f"{field}:N", title=None, scale=scale("colour"), **settings),
        "shape": alt.Shape(f"{field}:N", title=None, scale=scale("shape"), **settings),
        "strokeDash": alt.StrokeDash(f"{field}:N", title=None, scale=scale("dash"), **settings),
    }


def _front(points, rises):
    """Rows of those of pairs (cost, value) that no other beats in both. Smaller values are better, and so are smaller costs, or
    larger ones where it `rises`."""
    found, sign = [], -1 if rises else 1
    for cost, value in sorted((sign * cost, value) for cost, value in points):
        if not found or value < found[-1]["y"]:
            found.append({"front": "Pareto front", "x": sign * cost, "y": value})
    return found


def _front_line(interpolate, x, y):
    line = _only("front").mark_line(interpolate=interpolate, color=INK, opacity=0.5, strokeDash=[4, 3], strokeWidth=1)
    return line.encode(x=x("x"), y=y("y"), tooltip="front:N")


def _finished(layers, rows, width=560, height=340, choose=False):
    """The specification of layers that share rows, a dict.

    Args:
        layers: list of `altair.Chart`.
        rows: list of dicts, the data.
        width, height: ints. Pixels; the page takes all the width there is.
        choose: bool. Whether a page may choose which models are shown: rows without `model` always are.
    """
    given = {"params": [alt.param(name="shown", value=[]).param]} if choose else {}
    chart = alt.layer(*layers, data={"values": rows}, **given)
    # A label at the end of an axis takes its place from the plot, so that no page cuts it.
    chart = chart.properties(width=width, height=height, autosize={"type": "fit", "contains": "padding"})
    if choose:
        chart = chart.transform_filter("!isValid(datum.model) || length(shown) == 0 || indexof(shown, datum.model) >= 0")
    chart = chart.configure_axis(labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridColor=INK, gridOpacity=0.12)
    return (
        chart.configure_legend(labelColor=INK, titleColor=INK, symbolLimit=0, labelLimit=240)
        .configure_view(stroke=None)
        .to_dict()
    )
