"""The plots of the report, as SVG that needs no fonts and no scripts."""

import io
import math

from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "keras_genzoo",
    "text.parse_math": False,  # names of users may hold dollars
}


class Plain(LogFormatterSciNotation):
    """Labels of a logarithmic axis, without powers of ten."""

    def __call__(self, x, pos=None):
        return f"{x:,g}" if super().__call__(x, pos) else ""


def drawn(draw, width=6.4, height=3.6):
    """SVG, as text, of what `draw(axes)` draws."""
    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        for axis, least in ((axes.xaxis, axes.dataLim.minposx), (axes.yaxis, axes.dataLim.minposy)):
            if axis.get_scale() == "log" and not math.isfinite(least):
                getattr(axes, f"set_{axis.axis_name}scale")("linear")  # nothing is above 0
            if axis.get_scale() == "log":
                axis.set_major_formatter(Plain())
                axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        labels = axes.get_legend_handles_labels()[1]
        columns = -(-len(labels) // 14)
        if len(labels) > 8:  # beside the axes, which many names would cover
            figure.set_figwidth(width + 1.8 * columns)
            figure.legend(loc="outside right upper", ncols=columns)
        elif labels:
            axes.legend()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def learning_curve(curve):
    """Training and validation loss against seconds of training."""

    def draw(axes):
        for key, title, style in (("loss", "train", "-"), ("val_loss", "validation", "--")):
            known = [(point["seconds"], point[key]) for point in curve if None not in (point["seconds"], point.get(key))]
            axes.plot(*(zip(*known, strict=True) if known else ((), ())), label=title, linestyle=style)
        # The first segment's loss dwarfs what follows.
        later = sorted(point[key] for point in curve[1:] for key in ("loss", "val_loss") if point.get(key) is not None)
        if len(later) > 4 and later[0] < later[-1]:
            margin = 0.1 * (later[-1] - later[0])
            axes.set_ylim(later[0] - margin, later[-1] + margin)
        axes.set(xlabel="seconds of training", ylabel="loss")

    return drawn(draw, 4.2, 2.8)


def distance_against_time(entries, colours, name):
    """Distance on the validation split while training, a line a run."""

    def draw(axes):
        for entry in entries:
            for index, row in enumerate(entry.rows):
                points = [(point["seconds"], point["distance"]) for point in row.get("curve", ()) if point.get("distance")]
                points = [point for point in points if point[0] is not None]
                if points:
                    title = entry.label if index == 0 else None
                    axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colours[entry.label], label=title)
        axes.set(xlabel="seconds of training", ylabel=f"{name}, validation split", yscale="log")

    return drawn(draw)


def distance_against_speed(ranking, colours):
    """Distance against images sampled a second; controls as lines."""
    return distance_against_cost(ranking, colours, "sample_images_per_s", "images sampled a second, 256 at a time")


def distance_against_flops(ranking, colours):
    """Distance against floating-point operations of training; controls as lines."""
    return distance_against_cost(ranking, colours, "train_flops", "floating-point operations of training")


def distance_against_cost(ranking, colours, key, title):
    """Distance against a cost, of rows that tell it; controls as lines."""
    name = ranking.distance_name

    def draw(axes):
        for entry in ranking.entries:
            distance, cost = entry.mean(name), entry.mean(key)
            if distance is None or distance <= 0 or entry.label == "copy of training images":
                continue  # the copy's line would lie on that of the floor
            if entry.control:
                axes.axhline(distance, color="gray", linewidth=0.8, linestyle=":")
                axes.annotate(
                    entry.label, (1, distance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="gray"
                )
            elif cost:
                axes.plot(cost, distance, "o", color=colours.get(entry.label, "black"), label=entry.label)
        axes.set(xlabel=title, ylabel=name, xscale="log", yscale="log")

    return drawn(draw)


def distance_against_evaluations(points, name):
    """Distance against calls of the network for an image, a line a sampler."""

    def draw(axes):
        for sampler in dict.fromkeys(point["sampler"] for point in points):
            line = [point for point in points if point["sampler"] == sampler and point["distance"]]
            axes.plot([p["evaluations"] for p in line], [p["distance"] for p in line], marker="o", markersize=3, label=sampler)
        axes.set(xlabel="network calls an image", ylabel=name, xscale="log", yscale="log")

    return drawn(draw, 4.2, 2.8)


def objective_over_trials(rows, name, sign):
    """The objective of every trial in order, and the best so far."""

    def draw(axes):
        values = [row["results"][name] for row in rows]
        best = [sign * min(sign * value for value in values[: index + 1]) for index in range(len(values))]
        axes.plot(range(1, len(values) + 1), values, "o", markersize=4)
        axes.step(range(1, len(values) + 1), best, where="post", color="gray", label="best so far")
        axes.set(xlabel="trial", ylabel=name, yscale="log" if min(values) > 0 else "linear")

    return drawn(draw)


def parallel_coordinates(rows, space, name, sign):
    """A line a trial across an axis for each hyperparameter that several trials have, and one for the objective."""

    def draw(axes):
        keys = [key for key in space if sum(key in row["hyperparameters"] for row in rows) > 1]
        columns = {key: [row["hyperparameters"].get(key, MISSING) for row in rows] for key in keys}
        columns[name] = [row["results"][name] for row in rows]
        heights = {key: _heights(values) for key, values in columns.items()}
        order = sorted(range(len(rows)), key=lambda index: -sign * rows[index]["results"][name])
        for place, index in enumerate(order):  # the best last, on top
            shade = (place + 1) / len(rows)
            points = [(x, heights[key][0][index]) for x, key in enumerate(columns) if heights[key][0][index] is not None]
            axes.plot(*zip(*points, strict=True), color=colormaps["viridis_r"](shade), alpha=0.3 + 0.7 * shade)
        for x, key in enumerate(columns):
            for height, text in heights[key][1]:
                axes.annotate(text, (x, height), fontsize=7, ha="left", va="center", xytext=(2, 0), textcoords="offset points")
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axes.set(yticks=[], ylim=(-0.05, 1.05), xlim=(-0.2, len(columns) - 0.4))

    return drawn(draw, 11, 4)


MISSING = object()  # a hyperparameter that has no effect in a trial; None is a value


def _heights(values):
    """Heights in [0, 1] of one axis's values, None where one is missing, and what is written at which height."""
    known = [value for value in values if value is not MISSING]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        scale = math.log if low > 0 and high > 5 * low else float
        spread = scale(high) - scale(low) or 1.0
        marks = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
        return [None if value is MISSING else (scale(value) - scale(low)) / spread for value in values], marks
    names = sorted({str(value) for value in known})
    height = {text: index / max(1, len(names) - 1) for index, text in enumerate(names)}
    return [height.get(str(value)) for value in values], [(height[text], text) for text in names]


def front(rows, cost, name, sign):
    """The objective against a cost, with the trials that none beats in both joined by a line."""

    def draw(axes):
        points = sorted((row["results"][cost], sign * row["results"][name]) for row in rows)
        axes.plot([x for x, _ in points], [sign * y for _, y in points], "o", markersize=4)
        best = [(x, y) for index, (x, y) in enumerate(points) if all(y < other for _, other in points[:index])]
        axes.step([x for x, _ in best], [sign * y for _, y in best], where="post", color="gray", label="Pareto front")
        values = [y for _, y in points]
        axes.set(xlabel=cost.replace("_", " "), ylabel=name, xscale="log", yscale="log" if min(values) > 0 else "linear")

    return drawn(draw, 4.2, 2.8)
