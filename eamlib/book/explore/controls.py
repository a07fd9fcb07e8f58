"""The controls of an explorer: a choice among values, or an integer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eamlib._checks import integer_within
from eamlib._extras import need

MANY = 40  # options: more are a slider, since no list that drops down is that long

Value = str | int


@dataclass(frozen=True)
class Choice:
    """A control with a list of options.

    Attributes:
        name: what the parts call it.
        label: what the reader sees.
        options: text to value, what the static form offers.
        finer: what the live form offers, where that is more.
        first: the value at the start; None takes the first option.
        only: another control's name and those of its values for which this control means anything.

    Example:
        >>> pool = Choice("pool", "pooling", {"average": "avg", "maximum": "max"})
        >>> pool.start, pool.text("max")
        ('avg', 'maximum')
        >>> pool.check("median")
        Traceback (most recent call last):
            ...
        ValueError: pool = 'median' is not offered. Allowed: 'avg', 'max'.
    """

    name: str
    label: str
    options: Mapping[str, Value]
    finer: Mapping[str, Value] | None = None
    first: Value | None = None
    only: tuple[str, tuple[Value, ...]] | None = None

    @property
    def start(self) -> Value:
        return next(iter(self.options.values())) if self.first is None else self.first

    @property
    def live(self) -> Mapping[str, Value]:
        return self.finer or self.options

    @property
    def varies(self) -> bool:
        """Whether there is anything to choose; else the control is not shown."""
        return len(self.live) > 1

    def check(self, value: Value) -> Value:
        allowed = self.live.values()
        if value not in allowed:
            named = ", ".join(map(repr, itertools.islice(allowed, 20))) + (", …" if len(allowed) > 20 else "")
            raise ValueError(f"{self.name} = {value!r} is not offered. Allowed: {named}.")
        return value

    def text(self, value: Value) -> str:
        return next(text for text, offered in self.live.items() if offered == value)

    def means_something(self, state: Mapping[str, Value]) -> bool:
        return self.only is None or state[self.only[0]] in self.only[1]

    def about(self) -> dict[str, Any]:
        """What the script needs to draw the control."""
        texts, values = list(self.options), list(self.options.values())
        about = {"name": self.name, "label": self.label, "texts": texts, "values": values}
        return about | {"start": values.index(self.start), "only": self.only}

    def widget(self):
        need("notebooks", "ipywidgets")
        import ipywidgets

        options = {"options": list(self.live.items()), "value": self.start, "description": self.label}
        if len(self.live) > MANY:
            return ipywidgets.SelectionSlider(**options, continuous_update=False)
        return ipywidgets.Dropdown(**options)


@dataclass(frozen=True)
class Number:
    """A control for an integer from ``least`` to ``most``: a slider that stops at usual ones, and a field for any.

    Attributes:
        name: what the parts call it.
        label: what the reader sees.
        stops: of the slider, rising.

    Example:
        >>> channels = Number("C", "input channels", start=64, stops=(32, 64, 128))
        >>> channels.check(128)
        128
        >>> channels.check(0)
        Traceback (most recent call last):
            ...
        ValueError: C = 0 must be an integer from 1 to 4096.
    """

    name: str
    label: str
    start: int
    stops: tuple[int, ...]
    least: int = 1
    most: int = 4096
    varies = True

    def check(self, value: Value) -> Value:
        return integer_within(self.name, value, self.least, self.most)

    def about(self) -> dict[str, Any]:
        """What the script needs to draw the control."""
        return asdict(self)

    def widget(self):
        need("notebooks", "ipywidgets")
        import ipywidgets

        return ipywidgets.IntSlider(
            value=self.start, min=self.least, max=self.most, description=self.label, continuous_update=False
        )
