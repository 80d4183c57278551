"""The plots of the report, as SVG that needs no fonts and no scripts."""

import io

from matplotlib import rc_context
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
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter(Plain())
                axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def learning_curve(curve):
    """Training and validation loss against seconds of training."""

    def draw(axes):
        seconds = [point["seconds"] for point in curve]
        axes.plot(seconds, [point["loss"] for point in curve], label="train")
        axes.plot(seconds, [point["val_loss"] for point in curve], label="validation", linestyle="--")
        # The first segment's loss dwarfs what follows.
        later = sorted(point[key] for point in curve[1:] for key in ("loss", "val_loss"))
        if len(later) > 4:
            margin = 0.1 * (later[-1] - later[0])
            axes.set_ylim(later[0] - margin, later[-1] + margin)
        axes.set(xlabel="seconds of training", ylabel="loss")

    return drawn(draw, 4.2, 2.8)


def distance_against_time(entries, colours, name):
    """Distance on the validation split while training, a line a run."""

    def draw(axes):
        for entry in entries:
            for index, row in enumerate(entry.rows):
                points = [(point["seconds"], point["distance"]) for point in row["curve"] if point.get("distance") is not None]
                if points:
                    title = entry.label if index == 0 else None
                    axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colours[entry.label], label=title)
        axes.set(xlabel="seconds of training", ylabel=f"{name}, validation split", yscale="log")

    return drawn(draw)


def distance_against_speed(ranking, colours):
    """Distance on the test split against images sampled a second; controls as lines."""
    name = ranking.distance_name

    def draw(axes):
        for entry in ranking.entries:
            distance, speed = entry.mean(name), entry.mean("sample_images_per_s")
            if distance is None or distance <= 0 or entry.label == "copy of training images":
                continue  # the copy's line would lie on that of the floor
            if entry.control:
                axes.axhline(distance, color="gray", linewidth=0.8, linestyle=":")
                axes.annotate(
                    entry.label, (1, distance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="gray"
                )
            elif speed:
                axes.plot(speed, distance, "o", color=colours[entry.label], label=entry.label)
        axes.set(xlabel="images sampled a second, 256 at a time", ylabel=f"{name}, test split", xscale="log", yscale="log")

    return drawn(draw)


def distance_against_evaluations(points, name):
    """Distance on the test split against calls of the network for an image, a line a sampler."""

    def draw(axes):
        for sampler in dict.fromkeys(point["sampler"] for point in points):
            line = [point for point in points if point["sampler"] == sampler and point["distance"] is not None]
            axes.plot([p["evaluations"] for p in line], [p["distance"] for p in line], marker="o", markersize=3, label=sampler)
        axes.set(xlabel="network calls an image", ylabel=f"{name}, test split", xscale="log", yscale="log")

    return drawn(draw, 4.2, 2.8)
