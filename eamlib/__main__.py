"""``python -m eamlib``: the papers' cost and accuracy tables, training runs, and what all of it takes."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

import eamlib
from eamlib._checks import did_you_mean, one_of
from eamlib.commands import bench, cost, publish, redundancy, reproduce, train
from eamlib.training.lock import Busy

COMMANDS = {
    "cost": cost,
    "train": train,
    "reproduce": reproduce,
    "publish": publish,
    "redundancy": redundancy,
    "bench": bench,
}
_STATUS = (
    "Exit status: 0, all is done; 1, a run diverged, could not be kept, the disk being full, say, or lacked memory, or "
    "a worker was killed; 2, an argument is wrong, or a package is missing; 3, another process is at work on what is "
    "not done; 130, stopped by Ctrl-C."
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
    try:
        with _threads(options):
            command.run(options)
    except (ValueError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        return _say(options, error, 2)
    except Busy as busy:
        return _say(options, busy, 3)
    except Exception as error:
        if _lacks_memory(error):
            asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
            asked = f" ({asked[1]} more were asked for)" if asked else ""
            return _say(options, f"there is not enough memory{asked}. {command.LESS_MEMORY}", 1)
        if isinstance(error, FloatingPointError | OSError):
            return _say(options, error, 1)
        raise  # a fault of ours: how it came about is to be seen
    except KeyboardInterrupt as stop:
        return _say(options, str(stop) or "stopped by Ctrl-C.", 130)
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eamlib",
        description="Dynamic convolution and EAM: what they cost and how they train.",
        epilog=f"A command takes one thread, where more would gain nothing; OMP_NUM_THREADS=2 gives two. {_STATUS}",
    )
    version = f"eamlib {eamlib.__version__} (torch {torch.__version__})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    own: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
        summary, description, *more = (command.__doc__ or "\n\n").split("\n\n")
        summary = summary[:1].lower() + summary[1:].rstrip(".")
        epilog = " ".join([*more, _STATUS])
        own[name] = commands.add_parser(name, help=summary, description=description, epilog=epilog)
        command.arguments(own[name])
    if arguments and not arguments[0].startswith("-"):
        try:
            one_of("command", arguments[0], COMMANDS)
        except ValueError as error:
            parser.error(str(error))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # argparse would show the usage of the whole program
        usage = own[options.command].format_usage()
        near = did_you_mean(unknown[0].partition("=")[0], re.findall(r"--[\w-]+", usage))
        own[options.command].error(f"unrecognized arguments: {' '.join(unknown)}.{near}")
    return options


@contextmanager
def _threads(options: argparse.Namespace) -> Iterator[None]:
    """One thread, unless ``OMP_NUM_THREADS`` is set, images are read from disk or time is what is measured.

    Networks for small images gain little from a second thread, and lose a factor of ten where anything else wants the
    cores.
    """
    before = torch.get_num_threads()
    on_disk = getattr(options, "data", None) is not None and getattr(options, "size", None) is None
    if on_disk:
        from eamlib.data.sets import IN_MEMORY

        on_disk = options.data not in IN_MEMORY
    if not (on_disk or options.command == "bench" or "OMP_NUM_THREADS" in os.environ):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lacks_memory(error: Exception) -> bool:
    """Whether the memory of this machine or of its device ran out, in this process or in one that decodes."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says = r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
    return isinstance(error, MemoryError) or re.search(says, str(error)) is not None


def _say(options: argparse.Namespace, message: object, status: int) -> int:
    print(f"eamlib {options.command}: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
