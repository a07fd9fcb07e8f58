"""Of many processes one has the lock, whatever happens to it and to the clocks: `make faults`."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from eamlib.papers import records
from eamlib.training import lock

SECONDS = 0.15  # of a race


def taking(start, folder):
    """Take the lock again and again: how often this process was alone, and how often it was not."""
    alone = together = 0
    inside = folder / "inside"
    start.wait()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(lock.Busy), lock.hold(folder / "lock"):
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                together += 1
            else:
                inside.unlink()
                alone += 1
    return alone, together


def writing(start, folder):
    """Write the record of a run that others write, too: whether it was this process that did."""
    start.wait()
    try:
        records.write({"process": os.getpid()}, folder / "run.json")
    except FileExistsError:
        return 0, 0
    return 1, 0


def race(run, folder, processes=6):
    """Let processes run at once, and sum up what they return."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(processes), context.SimpleQueue()
    started = [context.Process(target=lambda: results.put(run(start, folder))) for _ in range(processes)]
    for process in started:
        process.start()
    answers = [results.get() for _ in started]
    for process in started:
        process.join()
    return [sum(one) for one in zip(*answers, strict=True)]


@pytest.mark.parametrize("dead", [False, True], ids=["new", "of a dead owner"])
def test_sixty_races_of_six_processes(tmp_path, dead):
    entries = 0
    for turn in range(60):
        folder = tmp_path / str(turn)
        folder.mkdir()
        if dead:
            (folder / "lock").write_text("process 1 on elsewhere since the beginning")
        alone, together = race(taking, folder)
        assert together == 0 and alone > 0 and not list(folder.iterdir())
        entries += alone
    print(f"{entries} entries, none of them double")


def test_sixty_races_for_a_record(tmp_path):
    for turn in range(60):
        folder = tmp_path / str(turn)
        folder.mkdir()
        written, _ = race(writing, folder)
        assert written == 1 and [path.name for path in folder.iterdir()] == ["run.json"]
        assert json.loads((folder / "run.json").read_text())["process"]


@pytest.fixture
def owner(tmp_path):
    """A process that holds ``tmp_path / "lock"``."""
    code = "from lock import hold\nwith hold(sys.argv[2]): print(flush=True); input()"
    with started(code, tmp_path / "lock", stdin=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def started(code, *arguments, before=(), **options):
    code = f"import sys; sys.path.insert(0, sys.argv[1])\n{code}"
    command = [*before, sys.executable, "-c", code, Path(lock.__file__).parent, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def is_free(path, before=()):
    code = "from lock import Busy, hold\ntry:\n  with hold(sys.argv[2]): print(1)\nexcept Busy: print(0)"
    with started(code, path, before=before) as process:
        answer = process.communicate()[0]
    if not answer and before:
        pytest.skip(f"{before[0]} is not allowed here")
    return answer == "1\n"


ELSEWHERE = {
    "this machine": (),
    "another host": ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"),
    "another container of the same name": ("unshare", "--pid", "--fork", "--mount-proc"),
}


@pytest.mark.parametrize("before", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("age", [0, 1e6, -1e6], ids=["now", "clock ahead", "clock back"])
def test_an_owner_keeps_it_until_it_ends(tmp_path, owner, before, age):
    path = tmp_path / "lock"
    then = time.time() - age
    os.utime(path, (then, then))
    assert not is_free(path, before)
    owner.send_signal(signal.SIGSTOP)
    assert not is_free(path, before)
    owner.send_signal(signal.SIGCONT)
    assert not is_free(path, before)
    owner.kill()
    owner.wait()
    assert is_free(path, before)


def test_it_says_who_it_is(tmp_path, owner):
    with pytest.raises(lock.Busy, match=f"process {owner.pid} on {socket.gethostname()}"), lock.hold(tmp_path / "lock"):
        pass
