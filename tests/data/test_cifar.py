"""CIFAR from class folders; its other form is tested in test_data."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from eamlib import data
from eamlib.data import ImageSet, cifar


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A tiny CIFAR-10 as PNG files, two a class, under tmp_path; its digest is taken for the original's."""
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path / "cache"))
    draws = torch.Generator().manual_seed(0)
    for part in ("train", "test"):
        for label in range(10):
            of_class = tmp_path / "cifar10" / part / f"class {label}"
            of_class.mkdir(parents=True)
            for i in range(2):
                pixels = torch.randint(256, (32, 32, 3), generator=draws, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(of_class / f"{i}.png")
    for train in (True, False):
        monkeypatch.setitem(cifar.ORIGINALS, ("cifar10", train), "")
        monkeypatch.setitem(
            cifar.ORIGINALS, ("cifar10", train), digest(tmp_path / "cifar10" / ("train", "test")[not train])
        )
    return tmp_path / "cifar10"


def digest(folder: Path) -> str:
    images = [torch.tensor(pixels(path)) for path in sorted(folder.rglob("*.png"))]
    return cifar._order(torch.stack(images).permute(0, 3, 1, 2), torch.arange(10).repeat_interleave(2))[1]


def pixels(path: Path):
    import numpy as np

    return np.array(Image.open(path))


def load(root: Path, train: bool = True) -> ImageSet:
    return data.load("cifar10", root=root, train=train, download=False)


def test_folders_are_read(folders, tmp_path):
    train, test = load(tmp_path), load(tmp_path, train=False)
    assert train.name == "cifar10" and train.images.shape == (20, 3, 32, 32) and train.images.dtype == torch.uint8
    assert train.classes == tuple(f"class {i}" for i in range(10)) and sorted(test.labels.tolist()) == sorted(
        [*range(10)] * 2
    )
    # Each label is that of its own pixels.
    of_five = {pixels(path).tobytes() for path in (folders / "train" / "class 5").iterdir()}
    assert of_five == {image.permute(1, 2, 0).numpy().tobytes() for image in train.images[train.labels == 5]}
    assert torch.equal(load(folders).images, train.images)  # the folder of train and test does as well


def test_the_order_is_that_of_the_content(folders, tmp_path):
    first = load(tmp_path)
    for path in (folders / "train").rglob("0.png"):
        path.rename(path.with_name("z.png"))
    second = load(tmp_path)
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    assert first.labels.tolist() != sorted(first.labels.tolist())


def test_images_are_decoded_once(folders, tmp_path, monkeypatch):
    first = load(tmp_path)
    monkeypatch.setattr("eamlib.data.decoded.rgb", lambda path: pytest.fail(f"{path} is decoded again"))
    assert torch.equal(load(tmp_path).images, first.images)


def test_a_torn_copy_is_decoded_anew(folders, tmp_path):
    first = load(tmp_path)
    [kept] = (tmp_path / "cache" / "decoded").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert torch.equal(load(tmp_path).images, first.images)


def test_a_place_that_cannot_be_written_does_not_matter(folders, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path / "file"))
    assert len(load(tmp_path)) == 20


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        ("pixel", "train is not the original cifar10: of its 20 images in 10 classes, pixels or labels are"),
        ("label", "is not the original cifar10"),
        ("missing image", "of its 19 images"),
        ("missing class", "is not the original cifar10: of its 18 images in 9 classes"),
        ("empty class", "train' holds no image for class 3; read are .png"),
        ("size", "1.png is an image of 31 × 32 pixels; allowed in cifar10-train is 32 × 32"),
        ("no image", "1.png cannot be read: truncated or no image"),
    ],
)
def test_what_is_not_the_original_is_refused(folders, tmp_path, spoil, match):
    of_class = folders / "train" / "class 3"
    image = of_class / "1.png"
    if spoil == "pixel":
        changed = pixels(image)
        changed[0, 0, 0] ^= 1
        Image.fromarray(changed).save(image)
    elif spoil == "label":
        image.rename(folders / "train" / "class 4" / "other.png")
    elif spoil == "missing image":
        image.unlink()
    elif spoil == "missing class":
        of_class.rename(folders / "class 3")
    elif spoil == "empty class":
        for path in of_class.iterdir():
            path.unlink()
    elif spoil == "size":
        Image.fromarray(pixels(image)[:, :31]).save(image)
    else:
        image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(ValueError, match=match):
        load(tmp_path)


@pytest.mark.parametrize("name", cifar.CLASSES)
def test_the_originals_have_the_known_statistics(name):
    """Where they lie under EAMLIB_DATA, in whatever form."""
    from eamlib.training import pixel_statistics

    try:
        train = data.load(name, download=False)
    except FileNotFoundError:
        pytest.skip(f"{name} is not under EAMLIB_DATA = {os.environ.get('EAMLIB_DATA')!r}")
    known = {"cifar10": (0.49140, 0.48216, 0.44653), "cifar100": (0.50708, 0.48655, 0.44092)}
    assert pixel_statistics(train)[0].flatten().tolist() == pytest.approx(known[name], abs=1e-5)
    assert (train.labels.bincount() == 50_000 // len(train.classes)).all()
