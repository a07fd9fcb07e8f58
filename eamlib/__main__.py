"""``python -m eamlib``: the papers' cost and accuracy tables, training runs, and what all of it takes."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Sequence

import torch

import eamlib
from eamlib._checks import did_you_mean
from eamlib.commands import bench, cost, gpu, publish, redundancy, reproduce, train
from eamlib.training.lock import Busy

COMMANDS = {
    "cost": cost,
    "train": train,
    "reproduce": reproduce,
    "publish": publish,
    "redundancy": redundancy,
    "bench": bench,
    "gpu": gpu,
}
_STATUS = (
    "Exit status: 0, all is done; 1, a run diverged, lacked memory or could not be saved, or a worker was killed; 2, "
    "an argument is wrong or a package is missing; 3, another process is at work on what is not done; 130, stopped by "
    "Ctrl-C."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    The program's help says what each means.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without our signs gets their numbers, "\u2212", rather than an error when all is done.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    options = _parsed(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS[options.command]
    if _one_thread_will_do(options):
        torch.set_num_threads(1)
    try:
        command.run(options)
        return 0
    except KeyboardInterrupt as stop:
        message, status = str(stop) or "stopped by Ctrl-C.", 130
    except Busy as busy:
        message, status = busy, 3
    except (ValueError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        message, status = error, 2
    except Exception as error:
        message, status = error, 1
        if _lacks_memory(error):
            asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
            more = f" ({asked[1]} more were asked for)" if asked else ""
            lower = getattr(command, "LESS_MEMORY", "Other programs on this machine take the rest.")
            message = f"there is not enough memory{more}. {lower}"
        elif not isinstance(error, FloatingPointError | OSError):
            raise  # a fault of ours: how it came about is to be seen
    print(f"eamlib {options.command}: {message}", file=sys.stderr)
    return status


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eamlib",
        description="Dynamic convolution and EAM: what they cost and how they train.",
        epilog=f"A command takes one thread, where more would gain nothing; OMP_NUM_THREADS=2 gives two. {_STATUS}",
    )
    version = f"eamlib {eamlib.__version__} (torch {torch.__version__})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        summary, description, *more = (command.__doc__ or "\n\n").split("\n\n")
        summary = summary[:1].lower() + summary[1:].rstrip(".")
        own = commands.add_parser(name, help=summary, description=description, epilog=" ".join([*more, _STATUS]))
        command.arguments(own)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        parser.error(f"command = {arguments[0]!r} is unknown.{did_you_mean(arguments[0], COMMANDS)}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # argparse would show the usage of the whole program
        own = commands.choices[options.command]
        near = did_you_mean(unknown[0].partition("=")[0], re.findall(r"--[\w-]+", own.format_usage()))
        own.error(f"unrecognized arguments: {' '.join(unknown)}.{near}")
    return options


def _one_thread_will_do(options: argparse.Namespace) -> bool:
    """Whether ``OMP_NUM_THREADS`` is not set, images are in memory and time is not what is measured.

    Networks for small images gain little from a second thread, and lose a factor of ten where anything else wants the
    cores.
    """
    from eamlib.data import IN_MEMORY

    in_memory = getattr(options, "data", None) in (None, *IN_MEMORY) or getattr(options, "size", None) is not None
    return in_memory and options.command != "bench" and "OMP_NUM_THREADS" not in os.environ


def _lacks_memory(error: Exception) -> bool:
    """Whether the memory of this machine or of its device ran out, in this process or in one that decodes."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says = r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
    return isinstance(error, MemoryError) or re.search(says, str(error)) is not None


if __name__ == "__main__":
    sys.exit(main())
