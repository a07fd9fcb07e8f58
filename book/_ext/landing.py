"""What the landing page shows that no chapter's cell does, made by the library while the page is.

`{lineage}`        the six steps of `eamlib.book.steps` as bars of HTML, for any width, by day and by night
`{explorer} NAME`  the static form of an explorer of `eamlib.book.explore`

Other builders than HTML's get nothing of either.
"""

from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def setup(app):
    app.add_directive("lineage", Lineage)
    app.add_directive("explorer", ShownExplorer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class FromLibrary(SphinxDirective):
    """HTML that the library makes."""

    def run(self):
        return [nodes.raw("", self.html(), format="html")]


class Lineage(FromLibrary):
    def html(self):
        from eamlib.book.steps import lineage_steps

        steps = lineage_steps()
        most = {name: max(getattr(cost, name) for *_, cost in steps) for name in ("parameters", "flops")}

        def bar(name, cost, text):
            share = getattr(cost, name) / most[name]
            return f'<span class="bar {name}" style="--share: {share:.4f}">{text}</span>'

        items = (
            f"<li><strong>{escape(name)}</strong> <span>{escape(idea)}</span>"
            + bar("parameters", cost, f"{cost.parameters / 1e3:.0f} k parameters")
            + bar("flops", cost, f"{cost.flops / 1e6:.1f} M FLOPs")
            + "</li>"
            for name, idea, cost in steps
        )
        return f'<ol class="lineage">{"".join(items)}</ol>'


class ShownExplorer(FromLibrary):
    required_arguments = 1

    def html(self):
        from eamlib.book import explore

        return f'<div class="cell_output">{getattr(explore, self.arguments[0])().html()}</div>'
