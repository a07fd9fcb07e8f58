import random
import re

import pytest
import tiny
import torch

from eamlib import data
from eamlib.data import imagenet

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")


def shipped() -> list[str]:
    return [line for line in imagenet.CLASS_LIST.read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def root(tmp_path):
    return tiny.imagenet_folder(tmp_path, (*shipped(), "n01440764"))  # and a class that the list does not name


def test_the_shipped_list_names_its_source():
    assert "https://arxiv.org/abs/1906.05849" in imagenet.CLASS_LIST.read_text()
    assert len(set(shipped())) == 100 and shipped() == sorted(shipped())
    assert {"n02869837", "n01749939", "n02090622"} <= set(shipped())  # the first two and the last of the source


def test_only_listed_classes_are_read(root):
    train, test = (data.load("imagenet100", root=root, train=part) for part in (True, False))
    assert (len(train), len(test)) == (200, 100) and train.classes == tuple(shipped()) and train.name == "imagenet100"
    assert train.labels.bincount().tolist() == [2] * 100
    assert all(file.parent.name == train.classes[label] for file, label in zip(train.files, train.labels, strict=True))
    image, label = train[3]
    assert image.size == (40, 30) and image.mode == "RGB" and label == 1
    # The folder itself does as well.
    assert len(data.load("imagenet100", root=root / "imagenet", train=False)) == 100


def test_without_seeds_a_stream_takes_the_central_squares(root):
    dataset = data.load("imagenet100", root=root, train=False)
    stripes = Image.new("RGB", (400, 200))  # red, but blue where the central square is
    stripes.paste((255, 0, 0), (0, 0, 400, 200))
    stripes.paste((0, 0, 255), (110, 10, 290, 190))
    stripes.save(dataset.files[0], quality=100)
    Image.new("RGB", (40, 30), (0, 0, 255)).save(dataset.files[1])
    batches = list(dataset.stream(torch.arange(6).split(4)))
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5]]
    images = batches[0][0]
    assert images.shape == (4, 3, 224, 224) and images.dtype == torch.uint8
    blue = torch.tensor([0.0, 0.0, 255.0])
    torch.testing.assert_close(images[1].float().mean((1, 2)), blue, atol=3, rtol=0)
    torch.testing.assert_close(images[0, :, 2:-2, 2:-2].float().mean((1, 2)), blue, atol=3, rtol=0)


def test_a_seed_decides_how_an_image_is_cropped_whoever_decodes(root):
    dataset = data.load("imagenet100", root=root)
    for file in dataset.files[:4]:
        file.write_bytes(dataset.files[4].read_bytes())
    batches = torch.arange(4).split(2)

    def cropped(seeds, workers):
        return torch.cat([images for images, _ in dataset.stream(batches, seeds=seeds, workers=workers)])

    seeds, others = (imagenet.draw_seeds(len(dataset), torch.Generator().manual_seed(seed)) for seed in (0, 1))
    before = torch.get_rng_state()
    first = cropped(seeds, workers=0)
    # Two workers: one decodes each batch.
    assert torch.equal(first, cropped(seeds, workers=2)) and not torch.equal(first, cropped(others, workers=0))
    assert not torch.equal(first[0], first[1])  # the same file, cropped in another way
    assert torch.equal(torch.get_rng_state(), before), "dropout's draws must not depend on reading"


def test_a_stream_gives_the_images_that_are_asked_for(root):
    dataset = data.load("imagenet100", root=root)
    [[images, labels]] = dataset.stream([torch.tensor([7, 0])])
    assert labels.tolist() == [3, 0]
    seeds = torch.arange(len(dataset))
    [[cropped, _]] = dataset.stream([torch.tensor([7, 0])], seeds=seeds)
    [[alone, _]] = dataset.stream([torch.tensor([0])], seeds=seeds)
    assert not torch.equal(cropped, images) and torch.equal(cropped[1], alone[0])


def test_images_that_are_not_rgb_are_converted(root):
    dataset = data.load("imagenet100", root=root, train=False)
    for i, mode in enumerate(("L", "CMYK")):
        Image.new(mode, (40, 30)).save(dataset.files[i])
    Image.new("RGBA", (40, 30)).save(dataset.files[2], format="PNG")  # ImageNet has one under a JPEG's name
    [[images, _]] = dataset.stream([torch.arange(3)])
    assert images.shape == (3, 3, 224, 224)


@pytest.mark.parametrize("damage", ["truncated", "no image", "gone"])
def test_a_damaged_image_is_named_while_streaming(root, damage):
    dataset = data.load("imagenet100", root=root, train=False)
    file = dataset.files[2]
    if damage == "truncated":
        noise = random.Random(0).randbytes(40 * 30 * 3)
        Image.frombytes("RGB", (40, 30), noise).save(file)
        file.write_bytes(file.read_bytes()[:-500])
    elif damage == "no image":
        file.write_bytes(b"<html>not found</html>")
    else:
        file.unlink()
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} cannot be read: truncated or no image"):
        list(dataset.stream([torch.arange(4)]))


def test_missing_and_empty_folders_are_named(root):
    with pytest.raises(FileNotFoundError, match="root = .*nowhere.* holds no imagenet/train. Expected is .*JPEG"):
        data.load("imagenet100", root=root / "nowhere")
    (root / "imagenet" / "val").rename(root / "imagenet" / "validation")
    with pytest.raises(FileNotFoundError, match="holds no imagenet/val"):
        data.load("imagenet100", root=root, train=False)
    folder = root / "imagenet" / "train" / shipped()[7]
    for file in folder.iterdir():
        file.rename(file.with_suffix(".txt"))
    another = folder.with_name(shipped()[9])
    another.rename(folder.with_name("elsewhere"))
    with pytest.raises(ValueError, match=f"train' holds no image for {folder.name}, {another.name}; read are .jpeg"):
        data.load("imagenet100", root=root)


def test_another_list_can_be_given(root, tmp_path):
    file = tmp_path / "mine.txt"
    # In any order, with remarks; the class that is new comes first in the order of the labels.
    file.write_text("# mine\n\nn01440764  # tench\n" + "\n".join(reversed(shipped()[1:])))
    dataset = data.load("imagenet100", root=root, classes=file)
    assert dataset.classes == ("n01440764", *shipped()[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda wnids: wnids[:-1], "mine.txt lists 99 different classes; ImageNet100 has 100"),
        (lambda wnids: [*wnids, "n01440764"], "mine.txt lists 101 different classes"),
        (lambda wnids: [*wnids[:-1], wnids[0]], "mine.txt lists 99 different classes"),
        (lambda wnids: ["tench", *wnids[1:]], "mine.txt has 'tench', which is no WordNet id; allowed are n and eight"),
        (lambda wnids: [wnids[0] + "0", *wnids[1:]], "which is no WordNet id"),
        (lambda wnids: ["\udcff", *wnids[1:]], "which is no WordNet id"),
    ],
)
def test_bad_lists_are_named(tmp_path, change, message):
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(change(shipped())), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        data.load("imagenet100", root=tmp_path, classes=file)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="classes = '.*none.txt' is no file"):
        data.load("imagenet100", root=tmp_path, classes=tmp_path / "none.txt")


def test_a_number_of_workers_out_of_its_range_is_named(root):
    with pytest.raises(ValueError, match="workers = -1 must be an integer of at least 0"):
        data.load("imagenet100", root=root, train=False).stream([torch.arange(1)], workers=-1)
