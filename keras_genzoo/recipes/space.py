"""Search spaces: ranges of hyperparameters as data, which `keras_genzoo.tuning` hands to KerasTuner."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Float:
    """Numbers from `low` to `high`.

    Args:
        low, high: floats. Both ends belong to the range.
        scale: "log" or "linear". Defaults to "log".
        when: dict of hyperparameters to tuples of the values with which this one has an effect, or None: always.
        start: number or None. Where a search begins if the default is None; without it such a default is outside the range.
            Defaults to None.
    """

    low: float
    high: float
    scale: str = "log"
    when: dict | None = None
    start: float | None = None

    def __post_init__(self):
        if self.start is not None and not self.low <= self.start <= self.high:
            raise ValueError(f"start is {self.start}, expected None or a number from {self.low} to {self.high}.")
        if not self.low < self.high or self.scale not in ("log", "linear") or (self.scale == "log" and self.low <= 0):
            raise ValueError(f"the range is {self}, expected low below high and scale 'log', of numbers above 0, or 'linear'.")

    def __contains__(self, value):
        value = self.start if value is None else value
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def map(self, function):
        """The range between what a function makes of its ends."""
        start = None if self.start is None else function(self.start)
        return dataclasses.replace(self, low=function(self.low), high=function(self.high), start=start)

    def words(self):
        """The range as text, as "0.0001 to 0.01, log"."""
        return f"{self.low:g} to {self.high:g}, {self.scale}{_condition(self.when)}"

    def register(self, hp, name, default):
        """The value of these `keras_tuner.HyperParameters`."""
        return hp.Float(name, self.low, self.high, sampling=self.scale, default=float(self.start if default is None else default))


@dataclasses.dataclass(frozen=True)
class Int(Float):
    """Whole numbers from `low` to `high`, both included; the same arguments as `Float`."""

    low: int
    high: int

    def __contains__(self, value):
        return isinstance(value, (int, type(None))) and super().__contains__(value)

    def register(self, hp, name, default):
        return hp.Int(name, self.low, self.high, sampling=self.scale, default=self.start if default is None else default)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values, of any type that is written as a literal of Python.

    Args:
        values: tuple.
        when: as of `Float`.
    """

    values: tuple
    when: dict | None = None

    def __post_init__(self):
        if not isinstance(self.values, tuple) or not self.values:
            raise ValueError(f"the values are {self.values!r}, expected a tuple of at least one.")

    def __contains__(self, value):
        return value in self.values

    def map(self, function):
        """The choices that a function makes of these, each once."""
        return dataclasses.replace(self, values=tuple(dict.fromkeys(map(function, self.values))))

    def words(self):
        """The choices as text."""
        return f"{', '.join(map(repr, self.values))}{_condition(self.when)}"

    def register(self, hp, name, default):
        # By what is written, for KerasTuner knows neither None nor tuples.
        written = {repr(value): value for value in self.values}
        return written.get(hp.Choice(name, list(written), default=repr(default), ordered=False))  # None where it has no effect


def _condition(when):
    """When a hyperparameter has an effect, as text."""
    named = (f"{name} is {' or '.join(map(repr, values))}" for name, values in (when or {}).items())
    return f"; where {' and '.join(named)}" if when else ""


KINDS = {kind.__name__: kind for kind in (Float, Int, Choice)}


def to_config(space):
    """A search space as JSON can hold it."""
    return {name: {"kind": type(each).__name__, **dataclasses.asdict(each)} for name, each in space.items()}


def from_config(config):
    """The search space of `to_config`."""
    return {name: KINDS[each["kind"]](**tuples({k: v for k, v in each.items() if k != "kind"})) for name, each in config.items()}


def tuples(value):
    """The value with tuples where JSON has put lists."""
    if isinstance(value, list):
        return tuple(tuples(each) for each in value)
    return {key: tuples(each) for key, each in value.items()} if isinstance(value, dict) else value
