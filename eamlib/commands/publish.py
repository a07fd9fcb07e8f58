"""Make small weights and a model card of a recorded run.

Write the weights of a recorded run as safetensors in float16, and a model card with their test accuracy, below
RESULTS/weights. Its checkpoint must have been kept: reproduce --keep.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from eamlib.commands import option, shared


def arguments(parser: ArgumentParser) -> None:
    option(parser, "record", "the run's record, RESULTS/DATA/NAME.json")
    shared(parser, "--work")


def run(options: Namespace) -> None:
    from eamlib.book import weights

    path = weights.publish(options.record, work=options.work)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)\n\n{path.with_suffix('.md').read_text(encoding='utf-8')}")
