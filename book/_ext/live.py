"""The network that runs in the page.

It begins, at a touch, where a page or a chapter's Markdown has

    <div class="live">A sentence, with a link to the published book.</div>

which is HTML and no directive, since Colab, GitHub, slides and the PDF then show the sentence. With `class="live
live-strip"` it is the short form: one picture, one switch, one guess. Its weights and images are scripts, written once
for each state of the library, since a page that lies in a file may load those and nothing else.
"""

import re
import shutil
from pathlib import Path

PLACE = re.compile(r'<div class="live[ "]')


def setup(app):
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_networks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_scripts(app, docname, template, context, doctree):
    """Where it stands, and on no other page."""
    if PLACE.search(context.get("body", "")):
        for script in "network.js", "view.js", "live.js":
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
        for name, script in live.scripts().items():
            (aside / f"{name}.js").write_text(script, encoding="ascii")
        aside.rename(made)
    shutil.copytree(made, Path(app.outdir, "_static", "live"), dirs_exist_ok=True)
