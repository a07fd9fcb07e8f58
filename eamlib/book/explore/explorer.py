"""What every explorer is: controls, parts that answer them, and one drawing in two forms.

A *part* is a function from some of the controls to JSON data. The live form calls the parts whenever a control changes.
The static form has called them in advance, for every combination of their controls, and holds what they answered.
``explorers.js`` draws both from the data of one state.
"""

from __future__ import annotations

import html
import inspect
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.book.explore.controls import Choice, Number, Value

LIMIT = 500_000  # bytes of a static form, its script and style included


@dataclass(frozen=True, eq=False)
class Explorer:
    """Controls and what they show. In a notebook an explorer shows itself: live under a kernel, static on a page.

    Attributes:
        name: of the drawing in ``explorers.js``.
        title: says what this is to readers who cannot see it.
        controls: in the order in which they stand.
        parts: name to function. Its parameters are names of controls; what it returns is JSON data. A part that reads
            a :class:`Number` cannot be computed for all values in advance: ``explorers.js`` then holds its twin.
        fixed: JSON data that the drawing needs in every state.
        presets: text to the values that it gives to controls.
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
    presets: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None

    @property
    def choices(self) -> list[Choice]:
        return [control for control in self.controls if isinstance(control, Choice)]

    def state(self, **values: Value) -> dict[str, Value]:
        """The value of every control: as given, else where the control starts.

        Raises:
            ValueError: if there is no such control, or it does not offer the value.
        """
        for name in values:
            one_of("control", name, [control.name for control in self.controls])
        return {control.name: control.check(values.get(control.name, control.start)) for control in self.controls}

    def data(self, **values: Value) -> dict[str, Any]:
        """What is drawn in one state: the JSON data of every part. Controls left out stand where they start.

        Raises:
            ValueError: as :meth:`state`.
        """
        state = self.state(**values)
        return {name: part(**{read: state[read] for read in _reads(part)}) for name, part in self.parts.items()}

    def html(self) -> str:
        """The static form: a self-contained piece of HTML that needs no kernel, no network and no library.

        Raises:
            ValueError: if it would have 500 kB or more.
        """
        self.prepare()
        offered = {choice.name: choice.options.values() for choice in self.choices}
        places: dict[str, int] = {}  # each answer once, and its place
        parts, sizes = {}, {}
        for name, part in self.parts.items():
            reads = _reads(part)
            if not offered.keys() >= set(reads):
                continue
            before = sum(map(len, places))
            answers = [
                _dumps(part(**dict(zip(reads, values, strict=True))))
                for values in itertools.product(*(offered[control] for control in reads))
            ]
            parts[name] = {"reads": reads, "index": [places.setdefault(answer, len(places)) for answer in answers]}
            sizes[name] = sum(map(len, places)) - before
        controls = [control.about() for control in self.controls]
        store = [json.loads(answer) for answer in places]
        fragment = self._fragment(controls=controls, presets=dict(self.presets), parts=parts, store=store)
        if (size := len(fragment.encode())) >= LIMIT:
            raise ValueError(
                f"the static form of this explorer would have {size / 1e3:.0f} kB, most of it "
                f"{max(sizes, key=sizes.get)}; allowed is less than {LIMIT / 1e3:.0f} kB: offer fewer images or layers."
            )
        return fragment

    def widget(self):
        """The live form: ipywidgets, whose changes call the parts, and the drawing in a frame below them."""
        need("notebooks", "ipywidgets")
        import ipywidgets

        widgets = {control.name: control.widget() for control in self.controls}
        presets = ipywidgets.Dropdown(options=[("your own", ""), *((text, text) for text in self.presets)], value="")
        frame = ipywidgets.HTML()

        def show(_=None) -> None:
            state = {name: widget.value for name, widget in widgets.items()}
            for choice in self.choices:
                widgets[choice.name].disabled = not choice.means_something(state)
            presets.value = self.preset(state)
            frame.value = self.frame(**state)

        def choose(change) -> None:
            for name, value in self.presets.get(change["new"], {}).items():
                widgets[name].value = value

        for widget in widgets.values():
            widget.style.description_width = "initial"
            widget.observe(show, "value")
        presets.observe(choose, "value")
        show()
        layout = ipywidgets.Layout(flex_flow="row wrap")
        offered = [widgets[control.name] for control in self.controls if control.varies]
        chosen = ipywidgets.Box(offered, layout=layout)
        return ipywidgets.VBox([*([presets] if self.presets else []), chosen, frame])

    def preset(self, state: Mapping[str, Value]) -> str:
        """The preset that a state is; "" if it is none."""
        same = (text for text, values in self.presets.items() if values.items() <= state.items())
        return next(same, "")

    def frame(self, **values: Value) -> str:
        """The drawing of one state, in an ``<iframe>``: an HTML widget runs no script of its own."""
        state = self.state(**values)
        texts = {choice.name: choice.text(state[choice.name]) for choice in self.choices}
        fragment = self._fragment(state=state, texts=texts, data=self.data(**state))
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
        except ValueError as error:  # too large for a page, which does not concern those who have a kernel
            page = f"<p>{html.escape(str(error))}</p>"
        bundle = {"text/plain": repr(self), "text/html": page}
        try:
            return self.widget()._repr_mimebundle_() | bundle
        except ImportError:  # no ipywidgets here
            return bundle


def _reads(part: Callable[..., Any]) -> list[str]:
    """The controls that a part takes, in order."""
    return list(inspect.signature(part).parameters)


def _dumps(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@cache
def _asset(name: str) -> str:
    return resources.files("eamlib.book.explore").joinpath(name).read_text(encoding="utf-8")
