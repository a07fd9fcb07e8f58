"""The commands of ``python -m eamlib``, one a file, whose docstring is its help.

Each has ``arguments(parser)``, which declares its options; ``run(options)``, which imports what it runs, so that help
appears at once; and ``LESS_MEMORY``, what to lower where memory runs out.
"""

from __future__ import annotations

import math
import shutil
import sys
from argparse import ArgumentParser
from dataclasses import MISSING, fields

from eamlib.training.recipe import Recipe

SHARED = {
    "--device": {"text": "cpu, cuda, … (default: CUDA where there is one)"},
    "--json": {"text": "also write a record; never overwrites one", "metavar": "FILE"},
    "--work": {"text": "for checkpoints", "default": "runs", "metavar": "DIR"},
    "--compile": {"text": "compile the network first: minutes, then faster steps", "action": "store_true"},
    "--channels-last": {"text": "the memory layout that GPUs like with bf16 and fp16", "action": "store_true"},
    "--workers": {
        "text": "of imagenet100: processes that decode; the result does not depend on it (default: one a core, 16 at "
        "most; give fewer where several runs share a machine)",
        "type": int,
    },
}


def option(parser: ArgumentParser, name: str, text: str, default: object = None, **more) -> None:
    """Declare an option; its help ends with its default."""
    if default is not None:
        text, more["default"] = f"{text} (default: %(default)s)", default
    parser.add_argument(name, help=text, **more)


def width() -> float:
    """What a line may take on a terminal, 80 at least; of a file there is no end."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else math.inf


def shared(parser: ArgumentParser, *names: str) -> None:
    """Declare options that several commands have."""
    for name in names:
        option(parser, name, **SHARED[name])


def of_recipe(parser: ArgumentParser, **texts: str) -> None:
    """Declare options that set a field of :class:`eamlib.training.recipe.Recipe`, with its type and its default."""
    found = {field.name: field for field in fields(Recipe)}
    for name, text in texts.items():
        kind = {"int": int, "float": float, "str": str}[found[name].type.removesuffix(" | None")]
        default = None if found[name].default is MISSING else found[name].default
        option(parser, f"--{name.replace('_', '-')}", text, default, type=kind)
