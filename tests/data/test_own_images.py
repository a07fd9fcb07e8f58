from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from eamlib import create_model, data, list_models
from eamlib.__main__ import main
from eamlib.data.augmentation import augment
from eamlib.data.imagenet import ImageFolderSet
from eamlib.training import evaluate, fit, pixel_statistics


@pytest.fixture
def fruit(tmp_path, monkeypatch):
    """Ten images each of two classes, of all kinds; no two are alike."""
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path / "cache"))
    for label, name in enumerate(("lemon", "lime")):
        (tmp_path / "fruit" / name / "deeper").mkdir(parents=True)
        for i in range(10):
            mode = ("RGB", "L", "P", "RGBA", "I;16")[i % 5]
            shade = 20 + 100 * label + 5 * i
            path = tmp_path / "fruit" / name / ("deeper" if i % 2 else "") / f"{i}.png"
            if mode == "I;16":
                Image.fromarray(np.full((20, 30), 257 * shade, np.uint16)).save(path)
            else:
                Image.new("L", (30 + i, 20), shade).convert(mode).save(path)
    return tmp_path / "fruit"


def shades(images: data.ImageSet) -> list[int]:
    return sorted(images.images[:, 0, 4, 4].tolist())


def test_images_of_any_size_and_mode_become_squares(fruit):
    whole = data.folder(fruit, size=8)
    assert whole.images.shape == (20, 3, 8, 8) and whole.classes == ("lemon", "lime") and whole.name == "fruit"
    assert shades(whole) == sorted(20 + 100 * label + 5 * i for label in (0, 1) for i in range(10))
    assert (whole.images[whole.labels == 1][:, 0, 4, 4] >= 120).all()


def test_one_folder_is_split_by_seed(fruit):
    halves = [data.folder(fruit, train=train, size=8) for train in (True, False)]
    assert [len(half) for half in halves] == [16, 4] and [half.labels.bincount().tolist() for half in halves] == [
        [8, 8],
        [2, 2],
    ]
    assert sorted(shades(halves[0]) + shades(halves[1])) == shades(data.folder(fruit, size=8))
    assert shades(data.folder(fruit, train=False, size=8)) == shades(halves[1])
    assert shades(data.folder(fruit, train=False, size=8, seed=1)) != shades(halves[1])


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_a_split_that_is_there_is_taken(fruit, held_out):
    for part, numbers in (("train", range(7)), (held_out, range(7, 10))):
        for name in ("lemon", "lime"):
            (fruit / part / name).mkdir(parents=True)
            for path in [p for p in (fruit / name).rglob("*.png") if int(p.stem) in numbers]:
                path.rename(fruit / part / name / path.name)
    for name in ("lemon", "lime"):
        (fruit / name / "deeper").rmdir()
        (fruit / name).rmdir()
    train, test = (data.folder(fruit, train=part, size=8) for part in (True, False))
    assert (len(train), len(test)) == (14, 6) and train.classes == test.classes == ("lemon", "lime")
    (fruit / held_out / "lime").rename(fruit / held_out / "orange")
    with pytest.raises(ValueError, match="hold different classes: lime, orange in one of them"):
        data.folder(fruit, train=True, size=8)
    (fruit / "train").rename(fruit / "training")
    with pytest.raises(FileNotFoundError, match=f"has {held_out}/ and no train/; allowed are both, or neither"):
        data.folder(fruit, train=True, size=8)


def test_images_may_stay_on_disk(fruit):
    train = data.folder(fruit, train=True)
    assert isinstance(train, ImageFolderSet) and len(train) == 16
    [[images, labels]] = train.stream([torch.arange(16)])
    assert images.shape == (16, 3, 224, 224) and labels.tolist() == [0] * 8 + [1] * 8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_file_is_named_in_one_line(fruit, workers):
    broken = fruit / "lime" / "4.png"
    broken.write_bytes(broken.read_bytes()[:40])
    whole = data.folder(fruit)
    with pytest.raises(ValueError, match="lime/4.png cannot be read: truncated or no image") as caught:
        list(whole.stream(torch.arange(20).split(4), workers=workers))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(fruit))
    with pytest.raises(ValueError, match="lime/4.png cannot be read"):
        data.folder(fruit, size=8)


@pytest.mark.parametrize(
    ("spoil", "given", "error", "match"),
    [
        ("", {"size": 0}, ValueError, "size = 0"),
        ("", {"seed": -1}, ValueError, "seed = -1"),
        ("missing", {}, FileNotFoundError, "nowhere' is no folder"),
        ("one class", {}, ValueError, "holds 1 folders; needed are at least 2"),
        ("empty class", {}, ValueError, "holds no image for orange; read are .png"),
        ("single image", {"train": True}, ValueError, "class 'orange' has one image; a split needs at least 2"),
    ],
)
def test_what_is_no_folder_of_classes_is_named(fruit, spoil, given, error, match):
    path = fruit
    if spoil == "missing":
        path = fruit / "nowhere"
    elif spoil == "one class":
        (fruit / "lime").rename(fruit.parent / "lime")
    elif spoil:
        (fruit / "orange").mkdir()
        if spoil == "single image":
            Image.new("L", (9, 9)).save(fruit / "orange" / "0.png")
    with pytest.raises(error, match=match):
        data.folder(path, **given)


def test_a_network_trains_on_them(fruit, capsys):
    assert main(["train", "--data", str(fruit), "--size", "32", "--epochs", "1", "--batch-size", "8", "--augment"]) == 0
    assert "epoch   1" in capsys.readouterr().out
    assert main(["train", "--data", str(fruit / "nowhere"), "--epochs", "1"]) == 2
    assert main(["train", "--data", "digits", "--size", "32"]) == 2
    assert "--size = 32 is for a folder of your own" in capsys.readouterr().err


@pytest.mark.parametrize("channels", [1, 5])
def test_images_may_have_any_number_of_channels(channels):
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (12, channels, 32, 32), generator=draws, dtype=torch.uint8)
    images = data.ImageSet("bands", pixels, torch.arange(12) % 2, ("a", "b"))
    assert pixel_statistics(images)[0].shape == (channels, 1, 1)
    model = create_model("mobilenet_v1", "eam-rcr", num_classes=2, width_mult=0.25, stem_stride=1, in_channels=channels)
    options = {"epochs": 1, "batch_size": 6, "augment": partial(augment, pad=2), "progress": False}
    [line] = fit(model, images, images, **options)
    assert evaluate(model, images) == line["test_accuracy"] and model(torch.zeros(1, channels, 32, 32)).shape == (1, 2)


def test_every_network_takes_other_channels():
    for name in list_models():
        with torch.device("meta"):
            model = create_model(name, num_classes=3, in_channels=4)
        # Whether it runs is tested with the models; without that this takes half of its time.
        stem = next(weight for weight in model.parameters() if weight.dim() > 3)
        assert stem.shape[-3] == 4, name
    with pytest.raises(ValueError, match="in_channels = 0"):
        create_model("resnet18", in_channels=0)


def test_a_set_of_somebody_elses_is_told_how_to_become_ours(fruit):
    datasets = pytest.importorskip("torchvision.datasets")
    theirs = datasets.ImageFolder(str(fruit))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    with pytest.raises(ValueError, match="train is a ImageFolder; .*eamlib.data.folder\\('.*fruit'\\) reads the same"):
        fit(model, theirs, theirs, epochs=1)
    with pytest.raises(ValueError, match="dataset is a list; .*eamlib.data.ImageSet"):
        evaluate(model, [1, 2])
