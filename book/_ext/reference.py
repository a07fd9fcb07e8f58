"""The API reference: what ``python -m eamlib`` and each of its commands say of themselves.

The docstrings come by Sphinx's own autodoc; a program's help has to be asked for.
"""

import contextlib
import io
import os
from unittest import mock

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

COLUMNS = "76"  # argparse fills the terminal, and a page is none


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CommandHelp(SphinxDirective):
    """``{command-help} train`` shows what ``python -m eamlib train --help`` prints."""

    optional_arguments = 1

    def run(self):
        from eamlib import __main__

        for module in (__main__, *__main__.COMMANDS.values()):
            self.env.note_dependency(module.__file__)
        text = help_of(__main__.main, *self.arguments)
        return [nodes.literal_block(text, text, language="text")]


def help_of(main, *command):
    """The help of a command, as the program prints it."""
    printed = io.StringIO()
    try:
        with (
            mock.patch.dict(os.environ, COLUMNS=COLUMNS),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            main([*command, "--help"])
    except SystemExit as end:
        if end.code:
            raise ExtensionError(f"there is no command {' '.join(command)!r}: {printed.getvalue()}") from None
    return printed.getvalue().rstrip()
