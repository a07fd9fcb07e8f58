import errno
import io
import json
import re
import sys
from dataclasses import replace

import pytest
import tiny
import torch

import eamlib
from eamlib import data
from eamlib.__main__ import main
from eamlib.commands import RECIPE
from eamlib.data import imagenet
from eamlib.training.lock import Busy
from eamlib.training.recipe import Recipe

pytest.importorskip("sklearn")


TINY = ["train", "--data", "digits", "--width", "0.125", "--epochs", "1"]


@pytest.fixture
def few(monkeypatch):
    """96 digits to train and 32 to test: what the command does is tested, not what comes of it."""
    load = data.load

    def load_few(name, *, train, classes=None):
        whole, count = load(name, train=train, classes=classes), 96 if train else 32
        return replace(whole, images=whole.images[:count], labels=whole.labels[:count])

    monkeypatch.setattr(data, "load", load_few)


@pytest.fixture
def fitted(monkeypatch):
    """The options that `fit` was called with, which does nothing."""
    given = []
    monkeypatch.setattr("eamlib.training.loop.fit", lambda *_, **options: given.append(options) or [])
    return given


def test_train_prints_epochs_and_writes_a_record(few, tmp_path, capsys):
    file = tmp_path / "run.json"
    arguments = [*TINY, "--conv", "eam-rcr"]
    assert main([*arguments, "--json", str(file)]) == 0
    assert "epoch   1" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["configuration"]["conv"] == "eam-rcr" and len(record["history"]) == 1
    before = file.read_text()
    assert main([*arguments, "--json", str(file)]) == 2
    assert "never overwritten" in capsys.readouterr().err and file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilenet_v9"], "name = 'mobilenet_v9' is unknown. Did you mean 'mobilenet_v"),
        (["--conv", "dynamik"], "Did you mean 'dynamic'"),
        (["--data", "digit"], "Did you mean 'digits'"),
        (["--data", "imagenet100"], "nowhere' holds no imagenet/train. Expected is"),
        (["--data", "imagenet100", "--classes", "none.txt"], "classes = 'none.txt' is no file"),
        (["--data", "imagenet100", "--augment"], "--augment is for the sets in memory; imagenet100 is always cropped"),
        (["--data", "digits", "--classes", "list.txt"], "classes = 'list.txt' is for imagenet100"),
        (["--data", "digits", "--workers", "2"], "workers = 2 is for sets on disk; allowed for digits is None"),
        (["--data", "digits", "--epochs", "0"], "epochs = 0"),
        (["--data", "digits", "--width", "0"], "width_mult = 0"),
        (["--data", "digits", "--precision", "half"], "precision = 'half' is unknown"),
        (["--data", "digits", "--temperature", "30"], "holds no kernel attention"),
    ],
)
def test_bad_arguments_end_with_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setenv("EAMLIB_DATA", "nowhere")
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_imagenet100_is_trained_at_224_from_its_folder(tmp_path, monkeypatch, fitted):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("EAMLIB_DATA", str(tiny.imagenet_folder(tmp_path, train=1)))
    record, classes = tmp_path / "run.json", tmp_path / "mine.txt"
    arguments = ["train", "--data", "imagenet100", "--width", "0.125", "--epochs", "1", "--workers", "1"]
    assert main([*arguments, "--json", str(record)]) == 0
    configuration = json.loads(record.read_text())["configuration"]
    assert configuration["stem_stride"] == 2 and configuration["augment"] == imagenet.AUGMENTATION
    assert "classes" not in configuration and fitted[0]["workers"] == 1 and fitted[0]["augment"] is None

    wnids = [line for line in imagenet.CLASS_LIST.read_text().splitlines() if not line.startswith("#")]
    for part in ("train", "val"):
        (tmp_path / "imagenet" / part / wnids[0]).rename(tmp_path / "imagenet" / part / "n01440764")
    assert main([*arguments, "--json", str(tmp_path / "another.json")]) == 2
    classes.write_text("\n".join(["n01440764", *wnids[1:]]))
    assert main([*arguments, "--json", str(tmp_path / "another.json"), "--classes", str(classes)]) == 0
    configuration = json.loads((tmp_path / "another.json").read_text())["configuration"]
    assert configuration["classes"] == ["n01440764", *wnids[1:]]


def test_the_same_command_goes_on(few, tmp_path, capsys):
    arguments = [*TINY, "--folder", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert (tmp_path / "epoch-0001.pt").is_file() and (tmp_path / "history.jsonl").read_text().count("\n") == 1
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == first and "epoch-0001.pt: 1 of 1 epochs are done." in again.err
    assert main([*arguments, "--ema", "0.9"]) == 2
    assert "belongs to another run: ema = 0.9 here and None there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt("stopped by Ctrl-C; runs/epoch-0003.pt is kept"), 130),
        (Busy("runs/lock is held by process 7 on elsewhere; runs/epoch-0003.pt is kept"), 3),
        (OSError(28, "epoch 4 could not be kept (No space left on device); runs/epoch-0003.pt is kept"), 1),
        (ChildProcessError("a worker was killed. runs/epoch-0003.pt is kept"), 1),
    ],
)
def test_an_end_before_the_end_has_a_status_and_says_what_is_kept(error, status, monkeypatch, capsys):
    def stopped(*arguments, **options):
        raise error

    monkeypatch.setattr("eamlib.training.loop.fit", stopped)
    assert main(["train", "--data", "digits"]) == status
    assert "runs/epoch-0003.pt is kept" in capsys.readouterr().err


def cannot_allocate():
    torch.empty(2**50)  # of 4 bytes each


def fill_the_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of …")


def raising(error):
    def fails():
        raise error

    return fails


@pytest.mark.parametrize(
    ("fails", "asked"),
    [
        (cannot_allocate, f"({2**52} bytes more were asked for)"),
        (fill_the_gpu, "(20.00 MiB more were asked for)"),
        (raising(MemoryError()), "memory. Lower"),
        (
            raising(MemoryError("Caught MemoryError in DataLoader worker process 0.\nOriginal …")),
            "memory. Lower",
        ),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), "memory. Lower"),
    ],
    ids=["CPU", "GPU", "Python", "worker", "fork"],
)
def test_want_of_memory_is_one_line_that_says_what_to_lower(fails, asked, monkeypatch, capsys):
    monkeypatch.setattr("eamlib.training.loop.fit", lambda *arguments, **options: fails())
    assert main(["train", "--data", "digits"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("eamlib train: there is not enough memory") and printed.count("\n") == 1
    assert asked in printed and "--batch-size" in printed


@pytest.mark.parametrize(
    ("arguments", "called", "lower"),
    [
        (["cost"], "eamlib.papers.eam.cost_table", "Other programs"),
        (["reproduce", "report"], "eamlib.book.findings.findings", "--workers"),
        (["publish", "x"], "eamlib.book.weights.publish", "Other programs"),
        (["redundancy", "untrained/torchvision/resnet18"], "eamlib.book.networks.network", "--count"),
        (["bench", "memory"], "eamlib.bench.memory.measure", "--work"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_command_says_what_to_lower(arguments, called, lower, monkeypatch, capsys):
    monkeypatch.setattr(called, lambda *arguments, **options: cannot_allocate())
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert "not enough memory" in printed and lower in printed and printed.count("\n") == 1


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("eamlib.training.loop.fit", lambda *arguments, **options: raising(RuntimeError("shapes"))())
    with pytest.raises(RuntimeError, match="shapes"):
        main(["train", "--data", "digits"])


@pytest.mark.parametrize(
    ("arguments", "usage", "message"),
    [
        (["trainn"], "python -m eamlib [-h]", "command = 'trainn' is unknown. Did you mean 'train'?"),
        (
            ["redundancy", "x", "--chanels", "4"],
            "python -m eamlib redundancy",
            "--chanels 4. Did you mean '--channels'?",
        ),
        (["cost", "--papers=eam"], "python -m eamlib cost", "--papers=eam. Did you mean '--paper'?"),
        (["cost", "eam"], "python -m eamlib cost", "unrecognized arguments: eam."),
        (["train", "--epochs", "few"], "python -m eamlib train", "argument --epochs: invalid int value: 'few'"),
    ],
)
def test_what_is_misspelt_is_told_under_its_own_usage(arguments, usage, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and printed.startswith(f"usage: {usage}") and message in printed


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"eamlib {eamlib.__version__} (torch {torch.__version__})\n"


def test_every_field_of_a_recipe_is_an_option_with_its_default_and_what_its_docstring_says(fitted, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    recipe = Recipe(epochs=1)
    for name in vars(recipe).keys() - {"augment"}:
        said, default = f"--{name.replace('_', '-')} {name.upper()} [a-zA-Z0-9]", getattr(recipe, name)
        ends = "" if name == "epochs" or default is None else rf"(?:(?! --).)*\(default: {default}\)"
        assert re.search(said + ends, printed), name
    assert "`" not in printed.partition("how it is trained:")[2].partition("--augment")[0]
    assert main([*TINY, "--schedule", "constant", "--learning-rate", "0.5", "--ema", "0.9"]) == 0
    expected = Recipe(epochs=1, schedule="constant", learning_rate=0.5, ema=0.9)
    assert Recipe(**{name: fitted[0][name] for name in RECIPE}) == expected


@pytest.mark.parametrize(
    ("arguments", "environment", "threads"),
    [
        (["cost"], None, 1),
        (["cost"], "2", 2),
        (["train", "--data", "digits"], None, 1),
        (["train", "--data", "imagenet100"], None, 2),
        (["train", "--data", "mine", "--size", "32"], None, 1),
        (["bench", "layers"], None, 2),
    ],
)
def test_small_networks_take_one_thread(arguments, environment, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(f"eamlib.commands.{arguments[0]}.run", lambda options: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        assert main(arguments) == 0
        assert seen == [threads]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_terminal_that_lacks_a_sign_gets_its_number(encoding, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding, errors="strict"))
    monkeypatch.setattr("eamlib.commands.cost.run", lambda options: print("3 × 224"))
    assert main(["cost"]) == 0
    sys.stdout.flush()
    text = printed.getvalue().decode(encoding)
    assert ("3 × 224" in text) == (encoding != "ascii") and ("3 \\xd7 224" in text) == (encoding == "ascii")
    with pytest.raises(SystemExit):
        main(["train", "--help"])  # it has the ellipsis, which Latin-1 lacks
    sys.stdout.flush()
    assert ("\\u2026" in printed.getvalue().decode(encoding)) == (encoding != "utf-8")


def test_divergence_ends_with_status_1(few, capsys):
    assert main([*TINY, "--learning-rate", "1e30"]) == 1
    assert "the loss is" in capsys.readouterr().err


def test_help_is_for_newcomers(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "cost" in printed and "3, another process is at work on what is not done" in printed


def test_augment_is_recorded_with_what_it_did(tmp_path, fitted):
    record = tmp_path / "run.json"
    assert main([*TINY, "--augment", "--json", str(record)]) == 0
    shifts = {"pad": 2, "flip": False}
    assert json.loads(record.read_text())["configuration"]["augment"] == fitted[0]["augment"].keywords == shifts
