import gzip
import hashlib
import io
import pickle
import shutil
import sys
import tarfile

import pytest
import torch
from chromium import served
from torch.utils.data import DataLoader

from eamlib import data
from eamlib.data import sets
from eamlib.data.augmentation import augment


def test_digits_are_split_for_good():
    pytest.importorskip("sklearn")
    train, test = data.load("digits"), data.load("digits", train=False)
    assert len(train) + len(test) == 1797 and (len(train), len(test)) == (1433, 364)
    assert train.images.shape == (1433, 3, 32, 32) and train.images.dtype == torch.uint8
    assert train.images.max() == 255 and train.classes == tuple("0123456789")
    for dataset in (train, test):
        shares = dataset.labels.bincount() / len(dataset)
        assert (shares - 0.1).abs().max() < 0.005
    assert torch.equal(test.images, data.load("digits", train=False).images)
    seen = {image.numpy().tobytes() for image in train.images[:, 0]}
    assert sum(image.numpy().tobytes() in seen for image in test.images[:, 0]) == 0


def test_digits_are_the_originals_upscaled():
    datasets = pytest.importorskip("sklearn.datasets")
    original = torch.from_numpy(datasets.load_digits().images)[0]
    first_test = data.load("digits", train=False).images[0, 0].float()
    blocks = first_test.unfold(0, 4, 4).unfold(1, 4, 4).mean((2, 3)) * 16 / 255
    assert torch.corrcoef(torch.stack([blocks.flatten(), original.flatten().float()]))[0, 1] > 0.95


def test_a_data_loader_takes_a_set():
    pytest.importorskip("sklearn")
    images, labels = next(iter(DataLoader(data.load("digits", train=False), batch_size=4)))
    assert images.shape == (4, 3, 32, 32) and images.min() >= 0 and images.max() == 1
    assert labels.dtype == torch.int64


def idx(values: torch.Tensor) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return bytes([0, 0, 8, values.dim()]) + sizes + values.numpy().tobytes()


def write_fashion_mnist(folder, part, count):
    """A part of Fashion-MNIST in the on-disk format, its pixels and labels made up."""
    pixels = torch.arange(28 * 28).remainder(256).to(torch.uint8).view(28, 28)
    labels = torch.arange(count).remainder(10).to(torch.uint8)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels.expand(count, 28, 28)))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels), compresslevel=1))


@pytest.fixture
def raw(tmp_path):
    """The test part; the other is six times as large, and read the same way."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    write_fashion_mnist(folder, "t10k", 10_000)
    return folder


def test_fashion_mnist_reads_plain_and_gz_files(raw, tmp_path):
    write_fashion_mnist(raw, "train", 60_000)
    test = data.load("fashion_mnist", root=tmp_path, train=False, download=False)
    assert test.images.shape == (10_000, 3, 32, 32) and test.labels[:3].tolist() == [0, 1, 2]
    assert test.images[5, 2, 3, 4] == 28 * 1 + 2 and test.images[:, :, 0].max() == 0
    assert len(test.classes) == 10
    # The folder of the files themselves does as well.
    assert len(data.load("fashion_mnist", root=raw, download=False)) == 60_000


def test_missing_files_are_named(raw, tmp_path):
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="raw/t10k-labels-idx1-ubyte.gz is missing or .*: download = False"):
        data.load("fashion_mnist", root=tmp_path, train=False, download=False)
    with pytest.raises(FileNotFoundError, match="nowhere/.*-ubyte.gz is missing or .* from http.*: download = False"):
        data.load("fashion_mnist", root=tmp_path / "nowhere", download=False)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("damage", ["plain", "gz", "magic", "not gz", "bits"])
def test_damaged_files_are_named(raw, tmp_path, damage):
    images, labels = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte.gz"
    if damage == "plain":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "gz":
        labels.write_bytes(labels.read_bytes()[:-9])
    elif damage == "magic":
        images.write_bytes(b"\x01" + images.read_bytes()[1:])
    elif damage == "bits":
        content = labels.read_bytes()
        labels.write_bytes(content[:20] + bytes(20) + content[40:])
    else:
        labels.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="(images|labels).* is truncated or no (gzip|idx) file"):
        data.load("fashion_mnist", root=tmp_path, train=False, download=False)


def python2_pickle(value: dict) -> bytes:
    """As CIFAR's authors wrote it: protocol 2, and an array's dtype made of integers instead of bools."""
    return pickle.dumps(value, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


CIFAR = {
    "cifar10": ("CIFAR10", [f"data_batch_{i}" for i in range(1, 6)], "test_batch", "batches.meta", "labels", 10),
    "cifar100": ("CIFAR100", ["train"], "test", "meta", "fine_labels", 100),
}


@pytest.fixture(params=CIFAR)
def cifar(request, monkeypatch, tmp_path):
    """A tiny CIFAR: its archive in tmp_path, and torchvision's checksums replaced by those of its files.

    Of image i of a file, the pixel in row r and column c of channel k is (i + 64 k + 32 r + c) mod 256.
    """
    datasets = pytest.importorskip("torchvision.datasets")
    kind, train, test, meta, key, count = CIFAR[request.param]
    source = getattr(datasets, kind)
    pixels = torch.arange(4)[:, None, None] + 64 * torch.arange(3)[:, None] + torch.arange(32 * 32)
    contents = {
        name: python2_pickle({"data": pixels.flatten(1).to(torch.uint8).numpy(), key: [0, 1, 2, count - 1]})
        for name in (*train, test)
    }
    contents[meta] = python2_pickle({source.meta["key"]: [f"class {i}" for i in range(count)]})
    with tarfile.open(tmp_path / source.filename, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{source.base_folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(source, "train_list", [[name, sums[name]] for name in train])
    monkeypatch.setattr(source, "test_list", [[test, sums[test]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": sums[meta]})
    monkeypatch.setattr(source, "tgz_md5", hashlib.md5((tmp_path / source.filename).read_bytes()).hexdigest())
    for part, files in ((True, len(train)), (False, 1)):
        images = pixels.to(torch.uint8).view(4, 3, 32, 32).repeat(files, 1, 1, 1)
        digest = sets.cifar._order(images, torch.tensor([0, 1, 2, count - 1]).repeat(files))[1]
        monkeypatch.setitem(sets.cifar.ORIGINALS, (request.param, part), digest)
    return request.param, tmp_path / source.filename, tmp_path / source.base_folder


def test_cifar_is_unpacked_and_read(cifar, tmp_path):
    name, archive, _ = cifar
    train, test = (data.load(name, root=tmp_path, train=part, download=False) for part in (True, False))
    assert len(train) == 4 * (5 if name == "cifar10" else 1) and len(test) == 4
    assert test.name == name and test.images.shape == (4, 3, 32, 32) and test.images.dtype == torch.uint8
    # In the order of their content, each with its own label.
    assert sorted(test.labels.tolist()) == [0, 1, 2, len(test.classes) - 1] and test.labels.dtype == torch.int64
    last = test.images[test.labels == len(test.classes) - 1][0]
    assert last[2, 1, 5] == 3 + 2 * 64 + 32 + 5 and test.images.is_contiguous()
    assert test.classes[1] == "class 1"
    archive.unlink()  # the folder is enough
    assert len(data.load(name, root=tmp_path, download=False)) == len(train)


def test_a_damaged_cifar_is_named(cifar, tmp_path):
    name, archive, folder = cifar
    content = archive.read_bytes()
    archive.write_bytes(content[:-100])
    with pytest.raises(FileNotFoundError, match=f"{archive.name} is missing or damaged and .*: download = False"):
        data.load(name, root=tmp_path, download=False)
    archive.write_bytes(content)
    data.load(name, root=tmp_path)
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        with pytest.raises(ValueError, match=f"A file of .*{folder.name} is missing or damaged. Delete the folder"):
            data.load(name, root=tmp_path)
        file.unlink()
        with pytest.raises(ValueError, match="is missing or damaged"):
            data.load(name, root=tmp_path)
        file.write_bytes(content)
    shutil.rmtree(folder)
    assert data.load(name, root=tmp_path)


def test_a_missing_cifar_is_named(cifar, tmp_path):
    name, archive, _ = cifar
    archive.unlink()
    with pytest.raises(FileNotFoundError, match=f"{archive.name} is missing or .* from https://.*: download = False"):
        data.load(name, root=tmp_path, download=False)


def test_cifar_is_fetched_and_unpacked(cifar, monkeypatch, tmp_path):
    name, archive, folder = cifar
    root = tmp_path / "new"
    with served(tmp_path) as address:
        monkeypatch.setattr(f"torchvision.datasets.{name.upper()}.url", f"{address}/{archive.name}")
        first = data.load(name, root=root)
    assert {path.name for path in root.iterdir()} == {archive.name, folder.name}
    assert torch.equal(data.load(name, root=root).images, first.images)


def test_fashion_mnist_is_fetched_and_goes_on_where_it_failed(raw, monkeypatch, tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    for path in raw.glob("*-ubyte"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
        path.unlink()
    sums = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(raw.iterdir())]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)
    (raw / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "labels")
    root = tmp_path / "new"
    with served(raw) as address:
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}/"])
        with pytest.raises(FileNotFoundError, match=f"fetched from {address}/t10k-labels-idx1-ubyte.gz: 404"):
            data.load("fashion_mnist", root=root, train=False)
        assert [path.name for path in (root / "FashionMNIST" / "raw").iterdir()] == ["t10k-images-idx3-ubyte.gz"]
        (tmp_path / "labels").rename(raw / "t10k-labels-idx1-ubyte.gz")
        assert len(data.load("fashion_mnist", root=root, train=False)) == 10_000
    assert len(data.load("fashion_mnist", root=root, train=False)) == 10_000


def offline(*_, **__):
    raise OSError("no network")


@pytest.mark.parametrize(
    ("name", "wanted"), [("cifar100", "cifar-100-python.tar.gz"), ("fashion_mnist", "train-images-idx3-ubyte.gz")]
)
def test_without_a_network_the_address_and_the_place_are_named(name, wanted, monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.setattr("requests.get", offline)
    match = f"{tmp_path}.*/{wanted} is missing or damaged and could not be fetched from http.*: no network"
    with pytest.raises(FileNotFoundError, match=match):
        data.load(name, root=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_set_in_memory_says_how_it_is_augmented():
    assert set(data.AUGMENTATIONS) == set(data.IN_MEMORY) and not data.AUGMENTATIONS["digits"]["flip"]
    for options in data.AUGMENTATIONS.values():
        assert augment(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), **options).shape == (2, 3, 32, 32)


def test_a_class_list_is_for_imagenet100():
    with pytest.raises(ValueError, match="classes = 'list.txt' is for imagenet100; allowed for digits is None"):
        data.load("digits", classes="list.txt")


@pytest.mark.skipif(
    not sets.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_the_real_fashion_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path))
    train, test = (data.load("fashion_mnist", train=part, download=False) for part in (True, False))
    assert train.labels.bincount().tolist() == [6000] * 10 and test.labels.bincount().tolist() == [1000] * 10
    assert train.classes[train.labels[0]] == "ankle boot"
    assert 0.28 < train.images[:, 0, 2:30, 2:30].float().mean() / 255 < 0.29  # the published mean is 0.2860


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="name = 'fashion-mnist' is unknown. Did you mean 'fashion_mnist'"):
        data.load("fashion-mnist")


def test_the_sample_of_photographs_is_the_first_2000_test_images():
    sample = data.sample("cifar100")
    assert sample.images.shape == (2000, 3, 32, 32) and sample.images.is_contiguous() and sample.name == "cifar100"
    assert len(sample.classes) == 100 and torch.bincount(sample.labels, minlength=100).min() >= 9
    # Photographs, each in its own tile: neighbouring pixels are far more alike than those of neighbouring tiles.
    pixels = sample.images.float()
    inside = (pixels[..., 1:] - pixels[..., :-1]).abs().mean()
    across = (pixels[1:, ..., 0] - pixels[:-1, ..., -1]).abs().mean()
    assert across > 4 * inside
    try:
        test = data.load("cifar100", train=False, download=False)
    except FileNotFoundError:
        pytest.skip("needs CIFAR-100 under EAMLIB_DATA")
    assert torch.equal(sample.images, test.images[:2000]) and torch.equal(sample.labels, test.labels[:2000])


def test_a_set_without_a_sample_is_named():
    with pytest.raises(ValueError, match="name = 'cifar10' is unknown. Did you mean 'cifar100'"):
        data.sample("cifar10")


def test_the_sample_is_the_first_2000_test_images():
    sample = data.sample()
    assert sample.images.shape == (2000, 3, 32, 32) and sample.images.dtype == torch.uint8
    assert (sample.name, sample.classes) == ("fashion_mnist", sets.GARMENTS)
    assert torch.bincount(sample.labels, minlength=10).tolist() == [200, 203, 214, 190, 219, 195, 197, 200, 194, 188]
    try:
        test = data.load("fashion_mnist", train=False, download=False)
    except FileNotFoundError:
        pytest.skip("needs Fashion-MNIST (Debian: dataset-fashion-mnist)")
    assert torch.equal(sample.images, test.images[:2000]) and torch.equal(sample.labels, test.labels[:2000])


def test_photographs_are_squares_of_twelve():
    skimage = pytest.importorskip("skimage.data")
    pytest.importorskip("sklearn")
    photographs = data.photographs(64)
    assert photographs.images.shape == (12, 3, 64, 64) and photographs.images.dtype == torch.uint8
    assert photographs.labels.tolist() == list(range(12)) and len(set(photographs.classes)) == 12
    colours = torch.tensor(skimage.chelsea()).float()[:, 75:375].mean((0, 1))
    chelsea = photographs.images[photographs.classes.index("chelsea")].float()
    torch.testing.assert_close(chelsea.mean((1, 2)), colours, rtol=0, atol=1.0)
    camera = photographs.images[photographs.classes.index("camera")]
    assert torch.equal(camera[0], camera[2]) and camera.float().std() > 30
    with pytest.raises(ValueError, match="size = 0 must be"):
        data.photographs(0)


def test_crops_come_photograph_by_photograph_so_that_folds_share_none():
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    crops = data.photographs(64, crops=True)
    assert crops.images.shape == (240, 3, 64, 64)
    assert crops.labels.tolist() == list(range(12)) * 20
    folds = [set(crops.labels[fold::4].tolist()) for fold in range(4)]
    assert len(set().union(*folds)) == sum(map(len, folds)) == 12
    # Of one photograph no two are the same.
    coffee = crops.images[crops.labels == crops.classes.index("coffee")]
    assert len({image.numpy().tobytes() for image in coffee}) == 20
    # The first larger crop is the upper left corner: the smaller first one is its upper left two thirds.
    larger, smaller = (coffee[i].float() for i in (0, 8))
    shrunk = torch.nn.functional.interpolate(smaller[None], (43, 43), mode="bilinear", antialias=True)[0]
    assert (larger[:, :43, :43] - shrunk).abs().mean() < 4


def test_the_packages_of_the_photographs_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"skimage is not installed.*eamlib\[redundancy\]"):
        data.photographs()
