"""Kill a training again and again, repeat it until it ends, and print what came of it as JSON.

python tests/faults/killed.py FOLDER moments COUNT    at random moments, until COUNT kills fell after the first epoch
python tests/faults/killed.py FOLDER calls FIRST      at each change of the disk from epoch FIRST to the run's end

It is a process of its own because it forks: its children need not import torch, which takes longer than they train.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

from eamlib.training.run import Run

for module in ("numpy.random", "torch._dynamo", "tqdm"):
    __import__(module)  # here, or every child does
EPOCHS = tiny.EVERYTHING["epochs"]


def start(folder: Path, dying_at: tuple[int, int] | None = None) -> int:
    """Train in a child and return its id; it kills itself at a change of the disk, where one is named."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if dying_at is not None:
                die_at(*dying_at)
            tiny.run(folder)
            status = 0
        finally:
            os._exit(status)
    return child


def die_at(first: int, number: int) -> None:
    """Kill this process at the ``number``-th change of the disk that comes with epoch ``first`` or after it."""
    changes = iter(range(sys.maxsize))
    record, write = Run.record, Path.write_bytes

    def die_if_it_is_time():
        if next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def record_watched(run, line):
        if line["epoch"] == first:
            Path.write_bytes = write_halves
            for name in ("fsync", "replace", "unlink"):
                setattr(os, name, watched(getattr(os, name)))
        return record(run, line)

    def write_halves(path, content):
        write(path, content[: len(content) // 2])
        die_if_it_is_time()
        write(path, content)

    def watched(function):
        def before(*arguments, **options):
            die_if_it_is_time()
            return function(*arguments, **options)

        return before

    Run.record = record_watched


def end(child: int, seconds: float | None = None) -> bool:
    """Wait for a child, and kill it after so many seconds; whether it was killed."""
    deadline = None if seconds is None else time.perf_counter() + seconds
    while deadline is not None and time.perf_counter() < deadline:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.0005)
    else:
        if deadline is not None:
            os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the training ended with status {status}"
    return status != 0


def at_moments(folder: Path, count: int) -> dict:
    start_of_alone = time.perf_counter()
    end(start(folder / "alone"))
    seconds = time.perf_counter() - start_of_alone
    expected = tiny.kept(folder / "alone")
    moments = random.Random(0)
    done = {"seconds": seconds, "runs": 0, "kills": 0, "in_the_middle": 0, "while_saving": 0, "same": 0}
    while done["in_the_middle"] < count:
        run = folder / f"run{done['runs']}"
        while end(start(run), moments.uniform(0, seconds / 2)):
            finished = [int(path.stem[6:]) for path in run.glob("epoch-*.pt")]
            done["kills"] += 1
            done["in_the_middle"] += 0 < max(finished, default=0) < EPOCHS
            done["while_saving"] += any(run.glob(".epoch-*"))
        done["runs"] += 1
        done["same"] += tiny.kept(run) == expected and history(run) == history(folder / "alone")
    return done


def at_calls(folder: Path, first: int) -> dict:
    end(start(folder / "alone"))
    expected = tiny.kept(folder / "alone")
    done = {"kills": 0, "same": 0}
    while end(start(folder / f"run{done['kills']}", (first, done["kills"]))):
        run = folder / f"run{done['kills']}"
        end(start(run))
        done["kills"] += 1
        done["same"] += tiny.kept(run) == expected and history(run) == history(folder / "alone")
    return done


def history(run: Path) -> list[dict]:
    return tiny.numbers([json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()])


if __name__ == "__main__":
    folder, way, *count = sys.argv[1:]
    print(json.dumps({"moments": at_moments, "calls": at_calls}[way](Path(folder), *map(int, count))))
