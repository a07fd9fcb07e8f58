"""The network that runs in the page.

`{live}` is the place where it begins, at a touch. Its weights and images are scripts, written once for each state of
the library, since a page that lies in a file may load those and nothing else. Other builders than HTML's get nothing.
"""

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

PLACE = """
<div class="live">
<button type="button">Run the network in this page</button> 2 MB, which come with the book and need no network.
<noscript>It needs JavaScript.</noscript>
</div>
"""


def setup(app):
    app.add_directive("live", Live)
    app.connect("build-finished", write_networks)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Live(SphinxDirective):
    def run(self):
        return [nodes.raw("", PLACE, format="html")]


def add_scripts(app, docname, template, context, doctree):
    """Where it stands, and on no other page."""
    if PLACE in context.get("body", ""):
        for script in "network.js", "live.js":
            app.add_js_file(f"live/{script}", defer="defer")
        app.add_css_file("live/live.css")


def write_networks(app, exception):
    if exception or app.builder.format != "html":
        return
    made = Path(app.config.book_state, "live")
    if not made.exists():
        from eamlib.book import live

        aside = made.with_suffix(".half")  # killed here, the next build writes them anew
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for conv in live.NETWORKS:
            (aside / f"{conv}.js").write_text(live.packed(conv), encoding="ascii")
        (aside / "images.js").write_text(live.packed_images(), encoding="ascii")
        aside.rename(made)
    shutil.copytree(made, Path(app.outdir, "_static", "live"), dirs_exist_ok=True)
