"""Units of a fraction of a second: digits in small numbers, one narrow network, an epoch or two."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny

pytest.importorskip("scipy")
pytest.importorskip("sklearn")
pytest.importorskip("tqdm")

import eamlib.training
from eamlib import data
from eamlib.__main__ import main
from eamlib.book.forecast import Forecast
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.reproduce import Outcome, on_ray, reproduce, run_unit
from eamlib.papers.training_runs import Plan
from eamlib.training import pick_device
from eamlib.training.lock import hold

PLAN = Plan("smoke", "digits", 2, 2, 0.25)
POOLING = TABLES["pooling"]
UNIT = PLAN.unit(POOLING.row("avg"), 0)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    load = data.load

    def few(name, *, train=True):
        whole, count = load(name, train=train), 40 if train else 20
        return replace(whole, images=whole.images[:count], labels=whole.labels[:count])

    monkeypatch.setattr(data, "load", few)


@pytest.fixture
def folders(tmp_path):
    return {"results": tmp_path / "results", "work": tmp_path / "work"}


def command(folders, *arguments, epochs=1, seeds=1):
    options = [
        "--budget",
        "smoke",
        "--width",
        "0.25",
        "--epochs",
        str(epochs),
        "--seeds",
        str(seeds),
        "--device",
        "cpu",
    ]
    return main(
        ["reproduce", *arguments, *options, "--results", str(folders["results"]), "--work", str(folders["work"])]
    )


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_unit_leaves_a_record_and_nothing_else(folders):
    outcome = run_unit(UNIT, **folders, device="cpu", progress=False)
    record = records.read(UNIT.path(folders["results"]))
    assert outcome == Outcome(UNIT, "trained", f"{record['history'][-1]['test_accuracy']:.2f} %")
    assert record["configuration"] == UNIT.configuration
    assert [line["epoch"] for line in record["history"]] == [1, 2] and record["images"] == {"train": 40, "test": 20}
    seconds = sum(line["seconds"] for line in record["history"])
    assert record["images_per_second"] == pytest.approx(80 / seconds, abs=0.1)
    assert record["device"] and record["versions"]["scipy"] and record["date"] and "commit" in record
    assert not files(folders["work"])
    assert run_unit(UNIT, **folders, device="cpu") == replace(outcome, state="done")


def test_an_interrupted_unit_goes_on(folders, tmp_path, monkeypatch):
    alone = {"results": tmp_path / "alone", "work": tmp_path / "work_alone"}
    run_unit(UNIT, **alone, device="cpu", progress=False, keep=True)
    assert (alone["work"] / "digits" / UNIT.name / "epoch-0002.pt").is_file()
    with monkeypatch.context() as patch:
        tested, calls = eamlib.training.loop._right_answers, iter((1, 2))

        def stopped_at_the_second(*arguments, **options):
            if next(calls) == 2:
                raise KeyboardInterrupt
            return tested(*arguments, **options)

        patch.setattr(eamlib.training.loop, "_right_answers", stopped_at_the_second)
        with pytest.raises(KeyboardInterrupt, match="epoch-0001.pt is kept"):
            run_unit(UNIT, **folders, device="cpu", progress=False)
    assert not UNIT.path(folders["results"]).exists() and not list(folders["work"].rglob("*lock"))
    assert Forecast(**folders, device=pick_device("cpu")).epochs_left(UNIT) == 1
    assert run_unit(UNIT, **folders, device="cpu", progress=False).state == "trained"
    histories = [tiny.numbers(UNIT.record(place["results"])["history"]) for place in (folders, alone)]
    assert histories[0] == histories[1]


def test_a_record_says_how_it_was_run_and_another_precision_has_its_own(folders, monkeypatch, capsys):
    monkeypatch.setattr("torch.compile", lambda model: model)
    arguments = ["pooling", "--row", "avg"]
    assert command(folders, *arguments, "--compile", "--channels-last") == 0
    assert command(folders, *arguments, "--precision", "bf16") == 0
    plain, bf16 = (
        records.read(replace(PLAN, epochs=1, precision=precision).unit(POOLING.row("avg"), 0).path(folders["results"]))
        for precision in ("float32", "bf16")
    )
    assert plain["how"] == {"compile": True, "channels_last": True} and "precision" not in plain["configuration"]
    assert "how" not in bf16 and bf16["configuration"]["precision"] == "bf16"
    assert plain["history"][0]["loss"] != bf16["history"][0]["loss"]
    tables = {path.stem for path in (folders["results"] / "tables").glob("*.md")}
    assert tables == {"pooling-digits-smoke-x0.25-e1", "pooling-digits-smoke-x0.25-e1-bf16"}
    # Seconds of the compiled run say nothing about a plain one.
    forecasts = (Forecast(**folders, device=pick_device("cpu"), **how) for how in ({}, plain["how"]))
    monkeypatch.setattr(Forecast, "_timed", lambda forecast, unit: 60.0)
    assert [forecast.an_epoch(UNIT)[1] for forecast in forecasts] == [False, True]
    capsys.readouterr()
    assert command(folders, *arguments, "--precision", "bf16", "--list") == 0
    assert "seed 0, bf16." in (printed := capsys.readouterr().out) and "1 of 1" in printed


def test_a_unit_of_imagenet100_is_trained_and_forecast_at_224(folders, tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    sets = tiny.on_disk(tmp_path / "images")
    monkeypatch.setattr(data, "load", lambda name, *, train=True: sets[0] if train else sets[1])
    unit = Plan("smoke", "imagenet100", 1, 1, 0.25).unit(POOLING.row("avg"), 0)
    assert run_unit(unit, **folders, device="cpu", progress=False, workers=2).state == "trained"
    record = unit.record(folders["results"])
    assert record["how"] == {"workers": 2} and record["images"] == {"train": 24, "test": 4}
    shapes = []
    build = type(unit).build

    def watched(unit):
        model = build(unit)
        model.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
        return model

    monkeypatch.setattr(type(unit), "build", watched)
    seconds, measured = Forecast(**folders, device=pick_device("cpu")).an_epoch(unit)
    assert seconds > 0 and not measured and set(shapes) == {(8, 3, 224, 224)}


def test_a_unit_that_another_process_runs_is_left_to_it(folders):
    with hold(folders["work"] / "digits" / f"{UNIT.name}.lock"):
        outcome = run_unit(UNIT, **folders, device="cpu", progress=False)
    assert outcome.state == "busy" and f"process {os.getpid()} on" in outcome.message
    assert not folders["results"].exists()


def test_a_command_that_leaves_runs_to_others_says_so(folders, capsys):
    with hold(folders["work"] / "digits" / f"{replace(UNIT, epochs=1).name}.lock"):
        assert command(folders, "pooling", "--row", "avg", "--row", "max") == 3
        printed = capsys.readouterr()
        assert f": busy, {folders['work']}" in printed.out and f"is held by process {os.getpid()} on" in printed.out
        assert printed.out.count(": trained, ") == 1 and "others are at work on 1 of 2 runs: " in printed.err
    assert command(folders, "pooling", "--row", "avg", "--row", "max") == 0


def test_a_record_that_another_wrote_meanwhile_ends_its_row_alone(folders, monkeypatch, capsys):
    assert command(folders, "pooling", "--row", "avg") == 0
    path = replace(UNIT, epochs=1).path(folders["results"])
    content = path.read_bytes()
    path.unlink()
    fit = eamlib.papers.reproduce.fit

    def fit_and_come_second(*arguments, **options):
        history = fit(*arguments, **options)
        path.write_bytes(content)
        return history

    monkeypatch.setattr(eamlib.papers.reproduce, "fit", fit_and_come_second)
    capsys.readouterr()
    assert command(folders, "pooling", "--row", "avg", "--row", "max") == 0
    printed = capsys.readouterr().out
    assert printed.count(": done, ") == 1 and printed.count(": trained, ") == 1
    assert path.read_bytes() == content and not files(folders["work"])


def test_a_wrong_record_is_named_and_neither_done_nor_shown(folders, capsys):
    assert command(folders, "pooling", "--row", "avg") == 0
    path = replace(UNIT, epochs=1).path(folders["results"])
    record = json.loads(path.read_text())
    record["history"][-1]["test_accuracy"] = 150
    path.write_text(json.dumps(record))
    tables = {file: file.read_bytes() for file in (folders["results"] / "tables").iterdir()}
    for options in ([], ["--list"]):
        capsys.readouterr()
        assert command(folders, "pooling", *options) == 2
        assert f"{path} is not a record of a run: test_accuracy = 150" in (printed := capsys.readouterr()).err
        assert "150" not in printed.out
    assert {file: file.read_bytes() for file in (folders["results"] / "tables").iterdir()} == tables


def test_results_that_cannot_be_written_are_noticed_before_the_first_step(folders, monkeypatch, capsys):
    monkeypatch.setattr(eamlib.papers.reproduce, "fit", lambda *arguments, **options: pytest.fail("it was trained"))
    folders["results"].mkdir()
    (folders["results"] / "digits").write_text("in the way")
    with pytest.raises(OSError, match="results/digits"):
        run_unit(UNIT, **folders, device="cpu", progress=False)
    assert command(folders, "pooling") in (1, 2)
    assert "results/digits" in capsys.readouterr().err


@pytest.mark.slow  # two commands from nothing; what they share is tested by the lock and the records, too
def test_two_processes_share_the_units(folders):
    # Twice PyTorch's start, for what no process shows alone: two that begin at once train no run twice, and both end.
    arguments = [sys.executable, "-m", "eamlib", "reproduce", "pooling", "--budget", "smoke", "--width", "0.25"]
    arguments += ["--epochs", "1", "--seeds", "1", "--device", "cpu"]
    arguments += ["--results", str(folders["results"]), "--work", str(folders["work"])]
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    statuses = {process.returncode for process in both}
    assert statuses <= {0, 3} and 0 in statuses  # 3: the other one had not yet ended a run that it left to it
    for unit in replace(PLAN, epochs=1, seeds=1).units(POOLING.rows):
        assert sum(f"{unit.name}: trained" in text for text in printed) == 1


def test_divergence_of_a_unit_does_not_stop_the_others(folders, monkeypatch, capsys):
    fit = eamlib.papers.reproduce.fit

    def bad_at_maximum(model, *arguments, **options):
        if "pool=max" in repr(model):
            raise FloatingPointError("the loss is no longer finite in epoch 1")
        return fit(model, *arguments, **options)

    monkeypatch.setattr(eamlib.papers.reproduce, "fit", bad_at_maximum)
    assert command(folders, "pooling") == 1
    printed = capsys.readouterr()
    assert "maxpool-e1-seed0: diverged, the loss is no longer finite in epoch 1" in printed.out
    assert "1 of 3 runs diverged: mobilenet_v1-x0.25-eam-rcr-maxpool-e1-seed0." in printed.err
    assert printed.out.count(": trained, ") == 2 and "not run yet" in printed.out


def test_the_command_trains_prints_and_saves_and_then_only_prints(folders, capsys):
    assert command(folders, "pooling") == 0
    first = capsys.readouterr().out
    assert first.count(": trained, ") == 3 and "# Ding et al. 2021: how EAM pools" in first
    path = folders["results"] / "tables" / "pooling-digits-smoke-x0.25-e1.md"
    assert path.read_text(encoding="utf-8") in first and json.loads(path.with_suffix(".json").read_text())["rows"]
    assert command(folders, "pooling") == 0
    second = capsys.readouterr().out
    assert "trained" not in second and path.read_text(encoding="utf-8") in second


def test_a_first_try_leaves_what_is_committed_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "digits"
    results.mkdir(parents=True)
    options = ["--budget", "smoke", "--width", "0.25", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
    assert main(["reproduce", "pooling", "--row", "avg", *options]) == 0
    record = replace(UNIT, epochs=1).path("runs")
    assert files(tmp_path) == [
        f"{record}",
        "runs/tables/pooling-digits-smoke-x0.25-e1.json",
        "runs/tables/pooling-digits-smoke-x0.25-e1.md",
    ]
    capsys.readouterr()
    assert main(["reproduce", "pooling", "--row", "avg", *options, "--list"]) == 0
    assert "1 of 1" in capsys.readouterr().out
    assert main(["reproduce", "--list"]) == 2
    assert "results/plans/attention.json" in capsys.readouterr().err
    # Of a plan what is committed counts as done.
    seen = []
    monkeypatch.setattr("eamlib.papers.plans.read", lambda path: None)
    monkeypatch.setattr("eamlib.book.findings.markdown", str)
    monkeypatch.setattr("eamlib.book.findings.findings", lambda plan, results: seen.append(results) or {"plan": "a"})
    monkeypatch.setattr("eamlib.book.findings.save", lambda found, folder: folder)
    assert main(["reproduce", "report"]) == 0
    assert seen == ["results"]


def test_the_way_to_a_checkpoint_of_a_recorded_run_is_named_and_leads_there(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    options = ["--row", "avg", "--budget", "smoke", "--width", "0.25", "--epochs", "1", "--seeds", "1"]
    assert main(["reproduce", "pooling", *options]) == 0
    record = replace(UNIT, epochs=1).path("runs")
    before = record.read_bytes()
    assert main(["publish", str(record)]) == 2
    of_publish = capsys.readouterr().err
    assert main(["reproduce", "pooling", *options, "--keep"]) == 0
    printed = capsys.readouterr().out
    assert "done before, and its checkpoint is gone" in printed and "trained" not in printed
    [command] = {re.search(r"python -m eamlib (.*?)\. ", text)[1] for text in (of_publish, printed)}
    assert main(command.split()) == 0
    [again] = {re.search(r"Its record is then (\S+)\.\n", text)[1] for text in (of_publish, printed)}
    assert main(["publish", again]) == 0
    assert (tmp_path / again).is_file() and record.read_bytes() == before


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_a_table_is_no_wider(columns, folders, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert command(folders, "pooling", "--row", "avg") == 0
    table = capsys.readouterr().out.partition("# Ding et al.")[2].rpartition("Saved as")[0]
    assert max(map(len, table.splitlines())) <= columns and "Left out for want of width: why it differs" in table
    saved = (folders["results"] / "tables" / "pooling-digits-smoke-x0.25-e1.md").read_text(encoding="utf-8")
    assert "why it differs" in saved.splitlines()[2] and "EAM, maximum pooling" in table


def test_shards_and_rows_do_their_part(folders, capsys):
    assert command(folders, "pooling", "--shard", "2/2") == 0
    assert files(folders["results"] / "digits") == ["mobilenet_v1-x0.25-eam-rcr-e1-seed0.json"]
    assert command(folders, "pooling", "--row", "max", "--row", "max") == 0
    assert len(files(folders["results"] / "digits")) == 2
    assert command(folders, "pooling", "--shard", "1/2") == 0
    assert capsys.readouterr().out.count(": trained, ") == 3


def test_the_list_shows_what_is_done_and_the_minutes_that_are_left(folders, capsys):
    assert command(folders, "pooling", "--row", "avg") == 0
    capsys.readouterr()
    before = files(folders["results"])
    assert command(folders, "pooling", "--list", seeds=2) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.startswith("  ")}
    assert rows["dynamic"][-4:-1] == ["0", "of", "2"] and rows["dynamic"][-1].startswith("~")
    assert rows["avg"][-4:-1] == ["1", "of", "2"] and not rows["avg"][-1].startswith("~")
    assert files(folders["results"]) == before and not files(folders["work"])


def test_the_list_of_all_tables_counts_a_run_once(folders, capsys, monkeypatch):
    monkeypatch.setattr(Forecast, "_timed", lambda forecast, unit: 60.0)
    options = ["--budget", "smoke", "--epochs", "1", "--seeds", "1", "--results", str(folders["results"])]
    assert main(["reproduce", "all", "--list", *options, "--work", str(folders["work"])]) == 0
    printed = capsys.readouterr().out
    assert "In all 57.0 minutes" in printed and printed.count("0 of 1") == 74


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["poolin"], "table = 'poolin' is unknown. Did you mean 'pooling'"),
        (["pooling", "--row", "mean"], "row = 'mean' is unknown."),
        (["all", "--row", "max"], "--row = 'max' wants one table"),
        (["pooling", "--shard", "3/2"], "--shard = '3/2' must be i/n"),
        (["pooling", "--engine", "rai"], "--engine = 'rai' is unknown. Did you mean 'ray'"),
        (["pooling", "--precision", "half"], "--precision = 'half' is unknown."),
        (["pooling", "--precision", "fp16"], "precision = 'fp16' needs a CUDA GPU, not cpu"),
        (["pooling", "--precision", "fp16", "--list"], "precision = 'fp16' needs a CUDA GPU, not cpu"),
        (["pooling", "--workers", "2"], "workers = 2 is for sets on disk; allowed for digits is None"),
        (["pooling", "--data", "imagenet100", "--workers", "-1"], "workers = -1 must be an integer of at least 0"),
        (["fix-dy"], "fix_shuffle-x0.25-static cannot be built"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(folders, arguments, message, capsys):
    assert command(folders, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not folders["results"].exists() and not folders["work"].exists()


def test_a_launcher_of_several_processes_is_refused(folders, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is above 1"):
        reproduce([UNIT], **folders)


def test_ray_that_is_missing_is_named(folders, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command(folders, "pooling", "--engine", "ray") == 2
    said = capsys.readouterr().err
    assert "ray is not installed" in said and 'pip install "eamlib[ray] @ git+' in said


@pytest.mark.slow  # Ray starts a cluster
@pytest.mark.filterwarnings("default")  # Ray has warnings of its own
def test_two_workers_of_ray_run_at_once_and_a_run_can_be_sent_to_them(folders, tmp_path, monkeypatch):
    # Some ten seconds, of Ray itself: its workers are given names, so that they need not load PyTorch.
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    folder = str(tmp_path)

    def meet(name):
        Path(folder, name).touch()
        deadline = time.monotonic() + 60
        while len(os.listdir(folder)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return name

    try:
        assert sorted(on_ray(["one", "two"], meet)) == ["one", "two"]
        assert ray.is_initialized()  # it was there before
        sent = ray.cloudpickle.dumps((partial(run_unit, **folders, device="cpu", progress=False), UNIT))
    finally:
        ray.shutdown()
    run, unit = ray.cloudpickle.loads(sent)
    assert run(unit).state == "trained" and unit == UNIT
