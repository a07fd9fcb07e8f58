"""``python -m eamlib gpu``, with parts that a CPU has time for."""

import time

import pytest

from eamlib.__main__ import main
from eamlib.commands import gpu
from eamlib.commands.gpu import Part


def test_a_dry_run_shows_what_would_be_run(tmp_path, capsys):
    assert main(["gpu", "--dry-run", "--out", str(tmp_path / "out"), "--minutes", "10", "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("tests", "layers", "models", "train", "train-static", "train-eam-rcr", "plan-1", "plan-2")
    ]
    assert "bench layers --device cuda" in lines[1]
    assert "--shard 2/2" in lines[-1]
    assert not (tmp_path / "out").exists()
    assert sum(part.share for part in gpu.parts(tmp_path, "cuda", 1)) == pytest.approx(1)


def test_a_part_that_ended_is_not_run_again_and_one_whose_time_is_over_goes_on(tmp_path, capsys, monkeypatch):
    quick = Part("quick", 0.5, ("-c", "print('seen')"))
    slow = Part("plan-1", 0.5, ("-c", "import time; print('begun', flush=True); time.sleep(600)"))
    monkeypatch.setattr(gpu, "parts", lambda *_: [quick, slow])
    monkeypatch.setattr(gpu, "_CLEAN_UP", 1.0)
    command = ["gpu", "--out", str(tmp_path), "--minutes", "0.1", "--device", "cpu"]
    begun = time.monotonic()
    assert main(command) == 0
    assert time.monotonic() - begun < 60
    assert (tmp_path / "quick.txt").read_text() == "seen\n"
    assert (tmp_path / "plan-1.log").read_text() == "begun\n"
    assert "plan-1: its time is over" in capsys.readouterr().out
    assert main(command) == 0
    assert "quick: done before" in capsys.readouterr().out


def test_a_failed_part_says_so_and_stops_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "parts", lambda *_: [Part("a", 0.5, ("-c", "exit(3)")), Part("b", 0.5, ("-c", ""))])
    monkeypatch.setattr(gpu, "_CLEAN_UP", 1.0)
    assert main(["gpu", "--out", str(tmp_path), "--minutes", "1", "--device", "cpu"]) == 0
    assert [line.partition(";")[0] for line in capsys.readouterr().out.splitlines()] == ["a: exit status 3", "b: ended"]


def test_records_are_checked(tmp_path, capsys):
    assert main(["gpu", "--check", "--out", str(tmp_path)]) == 2
    assert "holds no record" in capsys.readouterr().err
    assert main(["gpu", "--check", "--out", "results/benchmarks"]) == 0
    assert "layers-cpu.json: sound" in capsys.readouterr().out
    (tmp_path / "layers.json").write_text('{"configuration": {"bench": "layers"}, "device": "T4", "results": [{}]}')
    assert main(["gpu", "--check", "--out", str(tmp_path)]) == 2
    assert "layers.json is not sound" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--minutes", "0"), ("--processes", "0")])
def test_bad_numbers_are_named(option, value, capsys):
    assert main(["gpu", "--dry-run", option, value]) == 2
    assert option in capsys.readouterr().err
