"""One process at a time. More than one machine can show in a moment: tests/faults/racing.py."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from eamlib.training import lock
from eamlib.training.lock import Busy, hold

OWNER = """
import os, sys, time
sys.path.insert(0, sys.argv[2])  # without the library, which imports torch
from lock import hold
with hold(sys.argv[1]):
    if "child" in sys.argv and os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    print(flush=True)
    time.sleep(30)
"""


@pytest.fixture
def owner(tmp_path):
    """Start a process that holds ``tmp_path / "lock"``."""
    started = []

    def start(*options):
        arguments = [sys.executable, "-c", OWNER, tmp_path / "lock", Path(lock.__file__).parent, *options]
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, process_group=0))
        started[-1].stdout.readline()
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("error", [None, KeyError])
def test_one_holds_it_and_it_is_gone_afterwards(tmp_path, error):
    path = tmp_path / "folder" / "lock"
    with pytest.raises(error) if error else nullcontext(), hold(path):
        with pytest.raises(Busy, match=f"{path} is held by process {os.getpid()} on .* since .* UTC"), hold(path):
            pass
        if error:
            raise error
    assert not list(path.parent.iterdir())


def test_a_living_process_keeps_it_and_a_dead_one_does_not(tmp_path, owner):
    process = owner()
    os.utime(tmp_path / "lock", (0, 0))  # whatever the clocks say
    with pytest.raises(Busy, match=f"held by process {process.pid} on"), hold(tmp_path / "lock"):
        pass
    process.kill()
    process.wait()
    with hold(tmp_path / "lock"):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()
    assert not list(tmp_path.iterdir())


def test_a_stopped_owner_still_owns(tmp_path, owner):
    os.kill(owner().pid, signal.SIGSTOP)
    with pytest.raises(Busy), hold(tmp_path / "lock"):
        pass


def test_a_dead_owners_child_does_not_keep_it(tmp_path, owner):
    process = owner("child")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while True:  # a child closes the file a moment after it begins
        try:
            with hold(tmp_path / "lock"):
                return
        except Busy:
            assert time.monotonic() < deadline


def test_a_lock_that_was_removed_is_noticed_and_the_next_ones_is_left_alone(tmp_path):
    path = tmp_path / "lock"
    with hold(path) as check:
        check()
        path.unlink()
        with pytest.raises(Busy, match=f"{path}, which this process held, was removed"):
            check()
        with hold(path) as check_next:
            with pytest.raises(Busy, match="was removed"):
                check()
            check_next()
    with hold(path) as check:
        path.unlink()
        path.write_text("of the next one")
    assert path.read_text() == "of the next one"


def test_a_full_disk_keeps_nobody_out(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("eamlib.training.lock.socket", None)  # it cannot say who it is
        with pytest.raises(AttributeError), hold(tmp_path / "lock"):
            pass
    with hold(tmp_path / "lock"):
        pass
