"""Marks of a model's members: those that exist under a condition alone, and those that compute with averaged weights."""

import functools
import types


def available_if(condition, reason):
    """Make a method that exists only while `condition(self)` holds, so that `hasattr` says whether the call works.

    Args:
        condition: callable of the model, to bool.
        reason: str, or callable of the model to one. What the method needs; ends the message of the AttributeError.
    """

    def decorate(method):
        @functools.wraps(method)
        def bound(self):
            if not condition(self):
                why = reason(self) if callable(reason) else reason
                raise AttributeError(f"{type(self).__name__} {self.name!r} has no `{method.__name__}`: {why}.")
            return types.MethodType(method, self)

        return property(bound, doc=method.__doc__)

    return decorate


class Absent:
    """A member that a family may write: where it did not, `hasattr` is false, and asking for it says why in one sentence.

    Args:
        reason: str. Ends the message of the AttributeError.
    """

    def __init__(self, reason):
        self.reason = reason

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        of = owner.__name__ if instance is None else f"{owner.__name__} {instance.name!r}"
        raise AttributeError(f"{of} has no `{self.name}`: {self.reason}.")


def inference(method):
    """Make a method of a model compute with the averaged weights: the mark of everything but the training step."""

    @functools.wraps(method)
    def averaged(self, *args, **kwargs):
        with self.averaged_weights():
            return method(self, *args, **kwargs)

    return averaged
