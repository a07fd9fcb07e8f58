"""The commands of ``python -m eamlib``, one a file, whose docstring is its help.

Each has ``arguments(parser)``, which declares its options; ``run(options)``, which imports what it runs, so that help
appears at once; and may have ``LESS_MEMORY``, what to lower where memory runs out.
"""

from __future__ import annotations

import inspect
import math
import re
import shutil
import sys
from argparse import ArgumentParser
from dataclasses import MISSING, fields

from eamlib.training.recipe import Recipe

SHARED = {
    "--device": {"text": "cpu, cuda, … (default: CUDA where there is one)"},
    "--json": {"text": "write a record, too, into a new file", "metavar": "FILE"},
    "--work": {"text": "the folder of checkpoints", "default": "runs", "metavar": "DIR"},
    "--compile": {"text": "compile the network first: minutes, then faster steps", "action": "store_true"},
    "--channels-last": {"text": "the memory layout that GPUs like with bf16 and fp16", "action": "store_true"},
    "--workers": {"text": "processes that decode images on disk (default: one per core, at most 16)", "type": int},
}
# What a training's result depends on, but for the augmentation, which no option can spell.
RECIPE = {field.name: field for field in fields(Recipe) if field.name != "augment"}


def option(parser: ArgumentParser, name: str, text: str, default: object = None, **more) -> None:
    """Declare an option; its help ends with its default."""
    if default is not None:
        text, more["default"] = f"{text} (default: %(default)s)", default
    parser.add_argument(name, help=text, **more)


def shared(parser: ArgumentParser, *names: str) -> None:
    """Declare options that several commands have."""
    for name in names:
        option(parser, name, **SHARED[name])


def of_recipe(parser: ArgumentParser, *names: str, **texts: str) -> None:
    """Declare options of fields of :class:`eamlib.training.recipe.Recipe`, whose type and default they have.

    Their help is the first sentence of its docstring about the field, but for those that ``texts`` explain.
    """
    docstring = re.sub('[`"]', "", inspect.getdoc(Recipe) or "")
    said = dict(re.findall(r"^    (\w+): (.+?)\.\s", docstring, re.MULTILINE | re.DOTALL))
    for name in (*names, *texts):
        field = RECIPE[name]
        kind = {"int": int, "float": float, "str": str}[field.type.removesuffix(" | None")]  # not yet evaluated
        default = None if field.default is MISSING else field.default
        option(parser, f"--{name.replace('_', '-')}", (said | texts).get(name, ""), default, type=kind)


def width() -> float:
    """What a line may take on a terminal, 80 at least; of a file there is no end."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else math.inf
