"""A directive that stands for Markdown which is made when the page is read."""

from collections.abc import Iterable

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class GeneratedMarkdown(SphinxDirective):
    """What a class of this kind returns from :meth:`lines` is read as if it stood on the page."""

    def run(self):
        into = nodes.Element()
        self.state.nested_parse(StringList(list(self.lines()), f"<{self.name}>"), self.content_offset, into)
        return into.children

    def lines(self) -> Iterable[str]:
        raise NotImplementedError
