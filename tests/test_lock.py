import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from eamlib import lock
from eamlib.lock import Busy, hold


def write(path, seconds_ago=0, **owner):
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": None} | owner))
    os.utime(path, (time.time() - seconds_ago,) * 2)


@pytest.fixture
def dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holds_it_and_it_is_gone_afterwards(tmp_path):
    path = tmp_path / "folder" / "unit.lock"
    with hold(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with (
            pytest.raises(Busy, match=f"process {os.getpid()} on {socket.gethostname()} is at it; .*{path}"),
            hold(path),
        ):
            pass
        assert path.exists()
    assert not list(path.parent.iterdir())
    with pytest.raises(KeyError), hold(path):
        raise KeyError
    assert not path.exists()


def test_another_living_process_keeps_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write(tmp_path / "lock", 10_000, pid=process.pid, start=lock._start(process.pid))
        with pytest.raises(Busy, match=f"process {process.pid} on"), hold(tmp_path / "lock"):
            pass
        process.kill()
        process.wait()
        with hold(tmp_path / "lock"):
            pass


def test_a_dead_processs_lock_is_taken(tmp_path, dead):
    write(tmp_path / "lock", pid=dead)
    with hold(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(lock._start(os.getpid()) is None, reason="needs /proc")
def test_a_number_that_went_to_another_process_does_not_keep_it(tmp_path):
    write(tmp_path / "lock", start=1)
    with hold(tmp_path / "lock"):
        pass


def test_elsewhere_silence_tells(tmp_path):
    write(tmp_path / "lock", lock.SILENCE - 60, host="elsewhere")
    with pytest.raises(Busy, match="on elsewhere is at it; last sign of life 540 s ago"), hold(tmp_path / "lock"):
        pass
    write(tmp_path / "lock", lock.SILENCE + 60, host="elsewhere")
    with hold(tmp_path / "lock"):
        pass


def test_a_lock_without_its_content_is_a_new_one_or_a_dead_one(tmp_path):
    (tmp_path / "lock").touch()
    with pytest.raises(Busy), hold(tmp_path / "lock"):
        pass
    os.utime(tmp_path / "lock", (0, 0))
    with hold(tmp_path / "lock"):
        pass


def test_its_owner_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with hold(tmp_path / "lock"):
        os.utime(tmp_path / "lock", (0, 0))
        deadline = time.time() + 10
        while (tmp_path / "lock").stat().st_mtime == 0 and time.time() < deadline:
            time.sleep(0.01)
        assert (tmp_path / "lock").stat().st_mtime > 0


def test_who_was_silent_does_not_remove_the_next_ones_lock(tmp_path):
    with hold(tmp_path / "lock"):
        write(tmp_path / "lock", host="elsewhere")
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


def test_of_many_that_find_a_dead_lock_one_takes_it(tmp_path, dead):
    for turn in range(20):
        path = tmp_path / f"lock{turn}"
        write(path, pid=dead)
        start, end = threading.Barrier(8), threading.Barrier(8)
        holders = []

        def take(path=path, start=start, end=end, holders=holders):
            start.wait()
            try:
                with hold(path):
                    holders.append(1)
                    end.wait()
            except Busy:
                end.wait()

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(holders) == 1
