"""What the landing page shows that no chapter's cell does, made by the library while the page is.

`{lineage}`        the six steps of `eamlib.book.steps` as bars of HTML, for any width, by day and by night
`{explorer} NAME`  the static form of an explorer of `eamlib.book.explore`
`{finding} NAME`   a picture of what the book found: of a recorded run, or computed here
`{chapters}`       a card for each chapter of `_toc.yml`: what its own first page says

Other builders than HTML's get nothing but the cards. What needs the address of the published book stands on the page in
`{only} published`: the address that the repository came with is a placeholder.
"""

import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from generated import GeneratedMarkdown
from sphinx.util.docutils import SphinxDirective

from eamlib.papers import records

PLACEHOLDER = "eamlib", "eam-book"  # in two parts, which `make address` leaves alone


def setup(app):
    for directive in Lineage, ShownExplorer, Finding, Chapters:
        app.add_directive(directive.name_on_page, directive)
    app.connect("config-inited", tell_whether_published)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def tell_whether_published(app, config):
    """Set the tag `published` where the repository has an address of its own."""
    address = config.html_theme_options["repository_url"].rstrip("/").split("/")
    if tuple(address[-2:]) != PLACEHOLDER:
        app.tags.add("published")


class FromLibrary(SphinxDirective):
    """HTML that the library makes."""

    def run(self):
        return [nodes.raw("", self.html(), format="html")]


class Lineage(FromLibrary):
    name_on_page = "lineage"

    def html(self):
        from eamlib.book.steps import lineage_steps

        steps = lineage_steps()
        most = {name: max(getattr(cost, name) for *_, cost in steps) for name in ("parameters", "flops")}
        items = (
            f"<li><strong>{escape(name)}</strong> <span>{escape(idea)}</span>"
            + bar("parameters", cost.parameters / most["parameters"], f"{cost.parameters / 1e3:.0f} k parameters")
            + bar("flops", cost.flops / most["flops"], f"{cost.flops / 1e6:.1f} M FLOPs")
            + "</li>"
            for name, idea, cost in steps
        )
        return f'<ol class="lineage">{"".join(items)}</ol>'


def bar(kind: str, share: float, text: str) -> str:
    return f'<span class="bar {kind}" style="--share: {share:.4f}">{text}</span>'


class ShownExplorer(FromLibrary):
    name_on_page = "explorer"
    required_arguments = 1

    def html(self):
        from eamlib.book import explore

        return f'<div class="cell_output">{getattr(explore, self.arguments[0])().html()}</div>'


class Finding(FromLibrary):
    name_on_page = "finding"
    required_arguments = 1

    def html(self):
        return FINDINGS[self.arguments[0]](Path(self.env.srcdir, "results"))


def exchanged(results: Path) -> str:
    """What a network that reads four channels loses with another attention than its own, by the record of its run."""
    record = records.read(results / "cifar100" / "mobilenet_v1-x0.25-eam-rcr-e20-seed0.json")
    right = {row["attention"]: row["right"] / row["images"] for row in record["exchange"] if row["recalibrated"]}
    labels = {"own": "Each image's own attention", "mean": "The mean of all images", "another": "Another image's"}
    return bars({text: right[attention] for attention, text in labels.items()}, lambda share: f"{100 * share:.1f} %")


def milliseconds(results: Path) -> str:
    """MobileNetV1, static and dynamic, by the recorded benchmark of networks."""
    record = records.read(results / "benchmarks" / "models-cpu.json")
    [times] = (found["times"] for found in record["results"] if found["work"] == "32-inference")
    labels = {
        "static": "One kernel for all",
        "dynamic": "One per image, this library",
        "dynamic, grouped": "One per image, grouped convolution",
    }
    return bars({text: times[way]["ms"] for way, text in labels.items()}, lambda ms: f"{ms:.0f} ms")


def bars(values: dict[str, float], text) -> str:
    most = max(values.values())
    items = (f"<li><span>{label}</span>{bar('', value / most, text(value))}</li>" for label, value in values.items())
    return f'<ul class="shares">{"".join(items)}</ul>'


def partners(results: Path) -> str:
    """The share of channels with a partner, layer by layer: computed here, of published weights."""
    from eamlib.book.partners import partnered

    left, right, top, bottom = 40, 312, 8, 150
    shares = {"every pixel": partnered("pixels"), "each map's mean": partnered("means")}
    layers = list(shares["every pixel"])

    def x(place: int) -> float:
        return left + 8 + place * (right - left - 16) / (len(layers) - 1)

    def y(share: float) -> float:
        return bottom - share * (bottom - top)

    drawn = [
        f'<path class="rule" d="M{left} {y(share):.1f}H{right}"/>'
        f'<text x="{left - 4}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
        for share in (0, 0.5, 1)
    ]
    drawn += [
        f'<text x="{x(place):.1f}" y="{bottom + 17}" text-anchor="middle">{short}</text>'
        for place, short in enumerate(re.sub(r"block (\d+), .*", r"\1", layer) for layer in layers)
    ]
    said = []
    for kind, (label, of) in zip(("pixels", "means"), shares.items(), strict=True):
        places = [(x(place), y(share)) for place, share in enumerate(of.values())]
        drawn.append(f'<path class="{kind}" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in places)}"/>')
        drawn += [f'<circle class="{kind}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places]
        said.append(f"compared by {label}: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in of.items()))
    keys = "".join(
        f'<span class="{kind}">{label}</span>' for kind, label in zip(("pixels", "means"), shares, strict=True)
    )
    return (
        f'<div class="partners"><svg viewBox="0 0 320 172" role="img" aria-label="{"; ".join(said)}">{"".join(drawn)}'
        f'</svg><p class="keys">{keys}</p></div>'
    )


FINDINGS = {function.__name__: function for function in (exchanged, partners, milliseconds)}


class Chapters(GeneratedMarkdown):
    """The chapters, part by part."""

    name_on_page = "chapters"

    def lines(self) -> Iterable[str]:
        root = Path(self.env.srcdir)
        contents = root / "_toc.yml"
        for dependency in (contents, __file__):
            self.env.note_dependency(str(dependency))
        for part in yaml.safe_load(contents.read_text(encoding="utf-8"))["parts"]:
            files = [chapter["file"] for chapter in part["chapters"] if chapter["file"].startswith("notebooks/")]
            if not files:
                continue
            yield from ("", f"**{part['caption']}**", "")
            yield from ("::::{grid} 1 1 2 2", ":gutter: 3", ":class-container: chapters", "")
            for file in files:
                path = next(path for path in (root / f"{file}.md", root / f"{file}.ipynb") if path.exists())
                self.env.note_dependency(str(path))
                yield from card(file, first_text(path))
            yield "::::"


def first_text(path: Path) -> str:
    """A page of Markdown, or the first cell of a notebook."""
    text = path.read_text(encoding="utf-8")
    return "".join(json.loads(text)["cells"][0]["source"]) if path.suffix == ".ipynb" else text


def questions(paragraph: str) -> str:
    """What a paragraph asks; where that begins with a few words, "Do they?", with the sentence before."""
    sentences = re.findall(r"\S.*?[.?!](?=\s|$)", paragraph)
    asked = [number for number, sentence in enumerate(sentences) if sentence.endswith("?")]
    if asked and len(sentences[asked[0]].split()) < 4:
        asked.insert(0, asked[0] - 1)
    return " ".join(sentences[number] for number in asked)


def card(file: str, text: str) -> Iterable[str]:
    """Title, drawing, questions and minutes of a chapter, as far as its first page has them."""
    title, paragraph, *_ = text.split("\n\n")
    yield from (f":::{{grid-item-card}} {title.removeprefix('# ')}", f":link: ../{file}", ":link-type: doc")
    if picture := re.search(r"!\[(?P<alt>[^\]]*)\]\([./]*book/(?P<file>_static/drawings/\w+\.svg)\)", text):
        yield from (f":img-top: {picture['file']}", f":img-alt: {picture['alt']}")
    yield from ("", questions(paragraph), "")
    if minutes := [int(row) for row in re.findall(r"\| (\d+) \|$", text, re.MULTILINE)]:
        yield f"*{len(minutes)} pages, {sum(minutes)} minutes*"
    yield ":::"
