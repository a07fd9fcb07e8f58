import hashlib
import zipfile

import pytest
from chromium import served
from PIL import Image

from eamlib import data
from eamlib.data import tiny_imagenet


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tiny ImageNet of two images a class to train and one to test, in its published layout."""
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(tiny_imagenet, "PER_CLASS", {True: 2, False: 1})
    folder = tmp_path / tiny_imagenet.FOLDER
    wnids = [f"n{(7 * i) % 200:08d}" for i in range(200)]  # not sorted, as in the original
    lines = []
    (folder / "val" / "images").mkdir(parents=True)
    for number, wnid in enumerate(wnids):
        shade = int(wnid[1:])
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for i in range(2):
            mode, colour = ("RGB", (shade, 0, 0)) if i else ("L", shade)  # some are grey, as in the original
            Image.new(mode, (64, 64), colour).save(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        Image.new("L", (64, 64), shade).save(folder / "val" / "images" / f"val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    return folder


def load(root, name="tiny_imagenet", train=True):
    return data.load(name, root=root, train=train, download=False)


def test_it_is_read_as_published(folder, tmp_path):
    train, test = load(tmp_path), load(tmp_path, train=False)
    assert train.images.shape == (400, 3, 64, 64) and test.images.shape == (200, 3, 64, 64)
    assert train.classes == test.classes == tuple(sorted(train.classes)) and len(train.classes) == 200
    # The shade is the class's number, of training and test images alike.
    assert (test.images[:, 0, 5, 5].int() - test.labels).abs().max() <= 1
    assert (train.images[:, 0, 5, 5].int() - train.labels).abs().max() <= 3
    assert len(load(folder)) == 400  # the folder itself does as well


def test_the_first_hundred_are_those_of_its_list(folder, tmp_path):
    train, test = (load(tmp_path, "tiny_imagenet_100", train) for train in (True, False))
    listed = (folder / "wnids.txt").read_text().split()[:100]
    assert train.classes == test.classes == tuple(sorted(listed)) and len(train) == 200 and len(test) == 100
    shades = test.images[:, 0, 5, 5].tolist()
    assert all(abs(shade - int(test.classes[label][1:])) <= 1 for shade, label in zip(shades, test.labels, strict=True))


def test_its_archive_is_checked_fetched_and_unpacked(folder, tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    root = tmp_path / "other"
    root.mkdir()
    archive = root / f"{tiny_imagenet.FOLDER}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(tmp_path))
    with pytest.raises(FileNotFoundError, match="zip is missing or damaged and could not .*: download = False"):
        load(root)
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert len(load(root, train=False)) == 200
    with served(root) as address:
        monkeypatch.setattr(tiny_imagenet, "URL", f"{address}/{archive.name}")
        assert len(data.load("tiny_imagenet", root=tmp_path / "fetched", train=False)) == 200


def test_without_it_the_address_is_named(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    with pytest.raises(FileNotFoundError, match="200.zip is missing or .* from https://.*: download = False"):
        load(tmp_path)

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("requests.get", offline)
    with pytest.raises(FileNotFoundError, match="200.zip is missing or .* from https://.*: no network"):
        data.load("tiny_imagenet", root=tmp_path)


@pytest.mark.parametrize(
    ("spoil", "match", "error"),
    [
        ("image", "train holds 1 to 2 images of each of 200 classes; Tiny ImageNet has 2 of each of 200", ValueError),
        ("class", "train' holds no image for n00000003", ValueError),
        ("list", "of each of 199 classes; Tiny ImageNet has 2 of each of 200", ValueError),
        ("size", "JPEG is an image of 32 × 64 pixels; allowed in tiny_imagenet-train is 64 × 64", ValueError),
        ("annotations", "No such file .*val_annotations.txt", FileNotFoundError),
    ],
)
def test_what_is_missing_is_named(folder, tmp_path, spoil, match, error):
    image = folder / "train" / "n00000003" / "images" / "n00000003_1.JPEG"
    if spoil == "image":
        image.unlink()
    elif spoil == "class":
        (folder / "train" / "n00000003").rename(tmp_path / "away")
    elif spoil == "list":
        (folder / "wnids.txt").write_text("".join(f"n{i:08d}\n" for i in range(199)))
    elif spoil == "size":
        Image.new("L", (32, 64)).save(image)
    else:
        (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(error, match=match):
        load(tmp_path, train=spoil != "annotations")
