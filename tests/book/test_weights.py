"""What is published is the trained network: made of a run of a second, and as it lies under results/."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm")
pytest.importorskip("safetensors")
pytest.importorskip("sklearn")

from eamlib import data
from eamlib.__main__ import main
from eamlib.book import weights
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.reproduce import run_unit
from eamlib.papers.units import Plan
from eamlib.training import evaluate, pixel_statistics
from eamlib.training.checkpoint import latest

UNIT = Plan("smoke", "digits", 1, 1, 0.25).unit(TABLES["pooling"].row("max"), 0)
RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted((RESULTS / "weights").rglob("*.safetensors"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A recorded run whose checkpoint was kept: the path of its record, and the folder of the work."""
    load = data.load

    def few(name, *, train=True):
        whole, count = load(name, train=train), 150 if train else 50
        return replace(whole, images=whole.images[:count], labels=whole.labels[:count])

    monkeypatch.setattr(data, "load", few)
    run_unit(UNIT, results=tmp_path / "results", work=tmp_path / "work", device="cpu", keep=True, progress=False)
    return UNIT.path(tmp_path / "results"), tmp_path / "work"


def as_the_card_says(path, monkeypatch):
    """The network that the lines of its card load."""
    [lines] = re.findall(r"```python\n(.*?)```", path.with_suffix(".md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(path.parent)
    names = {}
    exec(lines, names)
    return names["model"]


def assert_same(ours, theirs):
    assert ours.training == theirs.training and repr(ours) == repr(theirs)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_the_weights_are_those_of_the_checkpoint_rounded(run, tmp_path, monkeypatch, capsys):
    record, work = run
    assert main(["publish", str(record), "--work", str(work)]) == 0
    path = tmp_path / "results" / "weights" / "digits" / f"{UNIT.name}.safetensors"
    monkeypatch.setattr(weights, "published_bytes", lambda name: (tmp_path / "results" / name).read_bytes())
    model = weights.load(f"digits/{UNIT.name}")
    trained = latest(work / "digits" / UNIT.name).weights["weights"]
    assert model.state_dict().keys() == trained.keys() and not model.training
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], rtol=2**-10, atol=2**-24)
        assert tensor.dtype == trained[name].dtype
    assert path.stat().st_size < 0.55 * sum(tensor.nbytes for tensor in trained.values())

    statistics = dict(zip(("mean", "std"), pixel_statistics(data.load("digits")), strict=True))
    accuracy = evaluate(model, data.load("digits", train=False), **statistics)
    card = path.with_suffix(".md").read_text()
    assert_same(as_the_card_says(path, monkeypatch), model)
    assert f"{accuracy:.2f} % of these weights" in card and records.read(record)["commit"] in card
    assert card in capsys.readouterr().out


def test_what_cannot_be_published_is_named(run, tmp_path):
    record, work = run
    with pytest.raises(FileNotFoundError, match="holds no checkpoint of .* reproduce --keep"):
        weights.publish(record, work=tmp_path)
    content = records.read(record)
    content["history"][-1]["test_accuracy"] += 1
    record.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="epoch-0001.pt is of another run than record"):
        weights.publish(record, work=work)
    record.write_text(json.dumps(content | {"configuration": {"model": "resnet18", "epochs": 1}}))
    with pytest.raises(ValueError, match="is not of a reproduction"):
        weights.publish(record, work=work)
    assert not (tmp_path / "results" / "weights").exists()


def test_what_is_published_is_never_overwritten(run):
    record, work = run
    path = weights.publish(record, work=work)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        weights.publish(record, work=work)
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_card_says_how_its_weights_are_loaded(path, monkeypatch):
    name = f"{path.parent.name}/{path.stem}"
    assert f'weights.load("{name}")' in path.with_suffix(".md").read_text(encoding="utf-8")
    assert_same(as_the_card_says(path, monkeypatch), weights.load(name))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_network_is_as_good_as_its_card_says(path):
    name = path.parent.name
    assert path.stat().st_size <= 3e6
    try:
        train, test = (data.load(name, train=part, download=False) for part in (True, False))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    mean, std = pixel_statistics(train)
    accuracy = evaluate(weights.load(f"{name}/{path.stem}"), test, mean=mean, std=std)
    card = path.with_suffix(".md").read_text()
    printed = float(card.partition("**Test accuracy**: ")[2].partition(" %")[0])
    assert accuracy == pytest.approx(printed, abs=0.05), "another processor may round a few images to another class"
    record = records.read(RESULTS / name / f"{path.stem}.json")
    assert f"{record['history'][-1]['test_accuracy']:.2f} % of the same" in card and record["date"] in card


@pytest.mark.parametrize("name", weights.PIXEL_STATISTICS)
def test_the_pixel_statistics_are_those_of_the_training_images(name):
    try:
        train = data.load(name, download=False)
    except FileNotFoundError:
        pytest.skip(f"needs {name} (Fashion-MNIST: Debian's dataset-fashion-mnist; CIFAR: under EAMLIB_DATA)")
    torch.testing.assert_close(weights.PIXEL_STATISTICS[name], pixel_statistics(train))
