"""Kill a training again and again, repeat it until it ends, and print what came of it as JSON. Run by test_run.py.

python tests/killed.py FOLDER moments COUNT    at random moments, until COUNT kills fell between first and last step
python tests/killed.py FOLDER calls            at each change of the disk that the last checkpoint makes

It is a process of its own because it forks: its children need not import torch, which takes longer than they train.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import tiny

from eamlib import checkpoint

for module in ("accelerate.utils", "numpy.random", "safetensors.torch", "torch._dynamo", "tqdm"):
    __import__(module)  # here, or every child does
EPOCHS = tiny.EVERYTHING["epochs"]


def start(folder: Path, dying_at: int | None = None) -> int:
    """Train in a child and return its id; it kills itself at a change of the disk, where one is named."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if dying_at is not None:
                die_at(dying_at)
            tiny.run(folder)
            status = 0
        finally:
            os._exit(status)
    return child


def die_at(number: int) -> None:
    """Kill this process at the ``number``-th change of the disk by the last epoch's checkpoint."""
    changes = iter(range(sys.maxsize))
    save, write = checkpoint.save, checkpoint._write

    def die_if_it_is_time():
        if next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def save_watched(folder, epoch, *contents):
        if epoch == EPOCHS:
            checkpoint._write = write_halves
            for name in ("mkdir", "fsync", "replace", "unlink", "rmdir"):
                setattr(os, name, watched(getattr(os, name)))
        return save(folder, epoch, *contents)

    def write_halves(path, content):
        write(path, content[: len(content) // 2])
        die_if_it_is_time()
        write(path, content)

    def watched(function):
        def before(*arguments, **options):
            die_if_it_is_time()
            return function(*arguments, **options)

        return before

    checkpoint.save = save_watched


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
            finished = [int(path.name[6:]) for path in run.glob("epoch-*")]
            done["kills"] += 1
            done["in_the_middle"] += 0 < max(finished, default=0) < EPOCHS
            done["while_saving"] += (run / checkpoint.ASIDE).exists()
        done["runs"] += 1
        done["same"] += tiny.kept(run) == expected and history(run) == history(folder / "alone")
    return done


def at_calls(folder: Path) -> dict:
    end(start(folder / "alone"))
    expected = tiny.kept(folder / "alone")
    done = {"kills": 0, "same": 0}
    while end(start(folder / f"run{done['kills']}", dying_at=done["kills"])):
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
