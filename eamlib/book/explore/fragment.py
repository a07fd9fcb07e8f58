"""The machine behind every explorer: controls, functions of them, and one drawing in two forms.

An explorer is a set of controls and of *parts*: functions from some of the controls to plain JSON data. The live form
calls the parts when a control changes. The static form has called them before, for every combination of the controls
that each takes, and keeps what they answered. The same script, ``explorers.js``, draws both from the data of one state.
"""

from __future__ import annotations

import base64
import html
import inspect
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from torch import Tensor

from eamlib._checks import integer_within, one_of
from eamlib._extras import need

LIMIT = 500_000  # bytes of a static fragment, its script and style included

Value = str | int


@dataclass(frozen=True)
class Choice:
    """A control with a list of options.

    Attributes:
        name: what the parts call it.
        label: what the reader sees.
        options: text to value, what the static form offers; the first is the start.
        finer: what the live form offers, where that is more.
        slider: the options have an order, and are drawn as a slider.
        only: another control's name and those of its values for which this one means anything.

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
    slider: bool = False
    only: tuple[str, tuple[Value, ...]] | None = None

    @property
    def start(self) -> Value:
        return next(iter(self.options.values()))

    def check(self, value: Value) -> Value:
        allowed = (self.finer or self.options).values()
        if value not in allowed:
            named = ", ".join(map(repr, itertools.islice(allowed, 20))) + (", …" if len(allowed) > 20 else "")
            raise ValueError(f"{self.name} = {value!r} is not offered. Allowed: {named}.")
        return value

    def text(self, value: Value) -> str:
        return next(text for text, offered in (self.finer or self.options).items() if offered == value)

    def about(self) -> dict[str, Any]:
        """What the script needs to draw the control."""
        return {
            "kind": "slider" if self.slider else "choice",
            "name": self.name,
            "label": self.label,
            "texts": list(self.options),
            "values": list(self.options.values()),
            "only": self.only,
        }

    def widget(self):
        import ipywidgets

        options = list((self.finer or self.options).items())
        if self.slider or len(options) > 40:
            return ipywidgets.SelectionSlider(
                options=options, value=self.start, description=self.label, continuous_update=False
            )
        return ipywidgets.Dropdown(options=options, value=self.start, description=self.label)


@dataclass(frozen=True)
class Number:
    """A control for an integer from ``least`` to ``most``.

    Example:
        >>> channels = Number("C", "input channels", start=64, most=4096)
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
    least: int = 1
    most: int = 4096

    def check(self, value: Value) -> Value:
        return integer_within(self.name, value, self.least, self.most)

    def about(self) -> dict[str, Any]:
        return {
            "kind": "number",
            "name": self.name,
            "label": self.label,
            "start": self.start,
            "least": self.least,
            "most": self.most,
        }

    def widget(self):
        import ipywidgets

        return ipywidgets.BoundedIntText(
            value=self.start, min=self.least, max=self.most, description=self.label, continuous_update=False
        )


@dataclass(frozen=True, eq=False)
class Explorer:
    """Controls and what they show. In a notebook it shows itself: live under a kernel, static on a page.

    Attributes:
        name: of the drawing in ``explorers.js``.
        title: says to who cannot see it what this is.
        controls: in the order in which they stand.
        parts: name to function. Its parameters are names of controls, what it returns is JSON data. A part of a
            :class:`Number` cannot be computed for all values in advance: ``explorers.js`` then has its twin.
        fixed: JSON data that the drawing needs in every state.
        prepare: called once before all states are computed, to do together what is cheaper so.

    Example:
        >>> k = Choice("k", "kernel size", {"3 × 3": 3, "5 × 5": 5})
        >>> explorer = Explorer("cost", "Weights of a kernel", (k,), {"weights": lambda k: k * k})
        >>> explorer.data(), explorer.data(k=5)
        ({'weights': 9}, {'weights': 25})
        >>> len(explorer.html()) < 500_000
        True
    """

    name: str
    title: str
    controls: tuple[Choice | Number, ...]
    parts: Mapping[str, Callable[..., Any]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None

    def data(self, **values: Value) -> dict[str, Any]:
        """What is drawn in one state: the JSON data of every part. Controls left out stand where they start.

        Raises:
            ValueError: if there is no such control, or it does not offer the value.
        """
        for name in values:
            one_of("control", name, [control.name for control in self.controls])
        state = {control.name: control.check(values.get(control.name, control.start)) for control in self.controls}
        return {
            name: part(**{control: state[control] for control in _reads(part)}) for name, part in self.parts.items()
        }

    def html(self) -> str:
        """The static form: a self-contained piece of HTML that needs no kernel, no network and no library.

        Raises:
            ValueError: if it would have 500 kB or more.
        """
        if self.prepare is not None:
            self.prepare()
        offered = {control.name: control.options.values() for control in self.controls if isinstance(control, Choice)}
        store: dict[str, int] = {}  # what parts answered, each once
        parts, sizes = {}, {}
        for name, part in self.parts.items():
            reads = _reads(part)
            if not reads.keys() <= offered.keys():
                continue
            before = sum(map(len, store))
            index = []
            for values in itertools.product(*(offered[control] for control in reads)):
                answer = _dumps(part(**dict(zip(reads, values, strict=True))))
                index.append(store.setdefault(answer, len(store)))
            parts[name] = {"reads": list(reads), "index": index}
            sizes[name] = sum(map(len, store)) - before
        fragment = self._fragment(
            controls=[control.about() for control in self.controls],
            parts=parts,
            store=[json.loads(answer) for answer in store],
        )
        if len(fragment.encode()) >= LIMIT:
            largest = max(sizes, key=sizes.get)
            raise ValueError(
                f"the static form of this explorer would have {len(fragment.encode()) / 1e3:.0f} kB, most of it "
                f"{largest}; allowed is less than {LIMIT / 1e3:.0f} kB: offer fewer images or layers."
            )
        return fragment

    def widget(self):
        """The live form: ipywidgets, whose changes call the parts, and the drawing in a frame below them."""
        need("notebooks", "ipywidgets")
        import ipywidgets

        widgets = {control.name: control.widget() for control in self.controls}
        frame = ipywidgets.HTML()

        def show(_=None) -> None:
            values = {name: widget.value for name, widget in widgets.items()}
            for control in self.controls:
                if isinstance(control, Choice) and control.only:
                    other, where = control.only
                    widgets[control.name].disabled = values[other] not in where
            frame.value = self.frame(**values)

        for widget in widgets.values():
            widget.style.description_width = "initial"
            widget.observe(show, "value")
        show()
        layout = ipywidgets.Layout(flex_flow="row wrap")
        return ipywidgets.VBox([ipywidgets.Box(list(widgets.values()), layout=layout), frame])

    def frame(self, **values: Value) -> str:
        """The drawing of one state, in an ``<iframe>``: an HTML widget runs no script of its own."""
        state = {control.name: values.get(control.name, control.start) for control in self.controls}
        data = self.data(**values)
        choices = [control for control in self.controls if isinstance(control, Choice)]
        texts = {control.name: control.text(state[control.name]) for control in choices}
        fragment = self._fragment(state=state, texts=texts, data=data)
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><body style="margin: 0">{fragment}</body></html>'
        return (
            f'<iframe title="{html.escape(self.title)}" srcdoc="{html.escape(page)}" '
            'style="border: 0; width: 100%; height: 40rem"></iframe>'
        )

    def _fragment(self, **content: Any) -> str:
        # Nothing in JSON data may end the script element that holds it.
        data = _dumps({"fixed": dict(self.fixed), **content}).replace("<", "\\u003c")
        return (
            f'<div class="explorer" data-explorer="{self.name}" role="group" aria-label="{html.escape(self.title)}">'
            f"<style>{_asset('explorers.css')}</style>"
            "<noscript><p>This explorer needs JavaScript.</p></noscript>"
            f'<script type="application/json">{data}</script><script>{_asset("explorers.js")}</script></div>\n'
        )

    def __repr__(self) -> str:
        return f"<Explorer {self.name}: {self.title}>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        try:
            page = self.html()
        except ValueError as error:  # too large for a page, which does not concern who has a kernel
            page = f"<p>{html.escape(str(error))}</p>"
        bundle = {"text/plain": repr(self), "text/html": page}
        try:
            widget = self.widget()
        except ImportError:  # no ipywidgets here
            return bundle
        return widget._repr_mimebundle_() | bundle


def encoded(numbers: Tensor) -> str:
    """The bytes of a tensor as text, in base64."""
    return base64.b64encode(numbers.cpu().contiguous().numpy().tobytes()).decode()


def _reads(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The controls that a part takes, in order."""
    return dict(inspect.signature(part).parameters)


def _dumps(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@cache
def _asset(name: str) -> str:
    return resources.files("eamlib.book.explore").joinpath(name).read_text(encoding="utf-8")
