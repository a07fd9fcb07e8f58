"""What a chapter that is cut into pages needs: drawings within the page, and its old address.

A drawing of `book/_static/drawings` is put into the page itself, so that its ink is the text's, by day and by night; on
Colab and on GitHub the same link shows it as a picture.
"""

import re
from html import escape
from pathlib import Path

PICTURE = re.compile(r'<img [^>]*?src="[^"]*/(\w+)\.svg"[^>]*>')
MOVED = """<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url={address}"><link rel="canonical" href="{address}"></head>
<body><p>This chapter has several pages now: <a href="{address}">{title}</a>.</p></body></html>
"""


def setup(app):
    app.connect("html-page-context", draw)
    app.connect("build-finished", leave_addresses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def draw(app, docname, template, context, doctree):
    if "body" in context:
        context["body"] = with_drawings(context["body"], Path(app.srcdir))


def with_drawings(html: str, root: Path) -> str:
    """HTML with the drawings themselves in the place of links to them."""

    def drawn(picture):
        path = root / "book" / "_static" / "drawings" / f"{picture[1]}.svg"
        if not path.is_file():
            return picture[0]
        svg = re.sub(r"<style>.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        alt = re.search(r'alt="([^"]*)"', picture[0])
        return svg.replace("<svg ", f'<svg class="drawing" aria-label="{alt[1] if alt else ""}" ', 1)

    return PICTURE.sub(drawn, html)


def leave_addresses(app, exception):
    """At the address that a chapter had as one page, lead to its pages."""
    if exception or app.builder.format != "html":
        return
    for docname, title in app.env.titles.items():
        if re.fullmatch(r"notebooks/\w+/index", docname):
            chapter = docname.removesuffix("/index")
            page = MOVED.format(title=escape(title.astext()), address=f"{Path(chapter).name}/index.html")
            Path(app.outdir, f"{chapter}.html").write_text(page, encoding="utf-8")
