import gzip

import pytest
import torch
from torch.utils.data import DataLoader

from eamlib import data


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


@pytest.fixture
def raw(tmp_path):
    """A whole Fashion-MNIST in the on-disk format, its pixels and labels made up."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = torch.arange(28 * 28).remainder(256).to(torch.uint8).view(28, 28)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = torch.arange(count).remainder(10).to(torch.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels.expand(count, 28, 28)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels), compresslevel=1))
    return folder


def test_fashion_mnist_reads_plain_and_gz_files(raw, tmp_path):
    test = data.load("fashion_mnist", root=tmp_path, train=False, download=False)
    assert test.images.shape == (10_000, 3, 32, 32) and test.labels[:3].tolist() == [0, 1, 2]
    assert test.images[5, 2, 3, 4] == 28 * 1 + 2 and test.images[:, :, 0].max() == 0
    assert len(test.classes) == 10
    # The folder of the files themselves does as well.
    assert len(data.load("fashion_mnist", root=raw, download=False)) == 60_000


def test_missing_files_are_named(raw, tmp_path):
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks t10k-labels-idx1-ubyte"):
        data.load("fashion_mnist", root=tmp_path, train=False, download=False)
    with pytest.raises(FileNotFoundError, match="root = .*nowhere.*Allowed: .*download=True"):
        data.load("fashion_mnist", root=tmp_path / "nowhere", download=False)


@pytest.mark.parametrize("damage", ["plain", "gz", "magic", "not gz"])
def test_damaged_files_are_named(raw, tmp_path, damage):
    images, labels = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte.gz"
    if damage == "plain":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "gz":
        labels.write_bytes(labels.read_bytes()[:-9])
    elif damage == "magic":
        images.write_bytes(b"\x01" + images.read_bytes()[1:])
    else:
        labels.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="(images|labels).*(truncated|not an idx file)"):
        data.load("fashion_mnist", root=tmp_path, train=False, download=False)


@pytest.mark.skipif(
    not data.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
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
