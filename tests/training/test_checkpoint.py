"""What is written comes back; what was damaged is named; what is not ours is not opened."""

import errno
import hashlib
import os
import pickle

import pytest
import torch

from eamlib import _files as files
from eamlib.training import checkpoint

WEIGHTS = {"weights": {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}}
STATE = {"history": [{"epoch": 1, "loss": 0.5}], "generator": torch.Generator().get_state(), "none": None}


def two(folder):
    return [checkpoint.save(folder, epoch, WEIGHTS, STATE | {"epoch": epoch}) for epoch in (1, 2)]


def test_what_is_saved_comes_back(tmp_path):
    channels_last = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    shared = torch.randn(3)
    weights = {"weights": {"x": channels_last, "y": shared, "z": shared}, "average": {"x": -channels_last}}
    path = checkpoint.save(tmp_path / "made" / "here", 7, weights, STATE)
    found = checkpoint.latest(tmp_path / "made" / "here")
    assert path == found.path == tmp_path / "made" / "here" / "epoch-0007.pt"
    assert {name: set(tensors) for name, tensors in found.weights.items()} == {"weights": set("xyz"), "average": {"x"}}
    assert torch.equal(found.weights["weights"]["x"], channels_last)
    assert torch.equal(found.state.pop("generator"), STATE["generator"])
    assert found.state == {"history": [{"epoch": 1, "loss": 0.5}], "none": None}


def test_torch_opens_it_and_the_checksum_is_that_of_all_before_it(tmp_path):
    path = checkpoint.save(tmp_path, 1, WEIGHTS, STATE)
    assert torch.load(path, weights_only=True)["state"]["history"] == STATE["history"]
    assert hashlib.sha256(path.read_bytes()[:-32]).digest() == path.read_bytes()[-32:]


def test_the_last_two_stay(tmp_path):
    (tmp_path / ".epoch-9998.pt.0123abcd").write_text("half of one, of a killed run")
    for epoch in (9998, 9999, 10000):
        checkpoint.save(tmp_path, epoch, WEIGHTS, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-10000.pt", "epoch-9999.pt"]
    assert checkpoint.latest(tmp_path).path.name == "epoch-10000.pt"


def test_no_checkpoint_is_none(tmp_path):
    (tmp_path / "epoch-old").mkdir()
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


def test_one_of_an_earlier_version_is_named_and_left_alone(tmp_path):
    (tmp_path / "epoch-0003").mkdir()
    (tmp_path / "epoch-0003" / "state.pt").write_bytes(b"kept")
    with pytest.warns(UserWarning, match="epoch-0003 is torn, corrupted or of an earlier version"):
        assert checkpoint.latest(tmp_path) is None
    checkpoint.save(tmp_path, 1, WEIGHTS, STATE)
    assert (tmp_path / "epoch-0003" / "state.pt").exists()


def flip_a_bit(path, bit=None):
    content = bytearray(path.read_bytes())
    bit = 4 * len(content) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


DAMAGE = {
    "bit": flip_a_bit,
    "checksum": lambda path: flip_a_bit(path, -1),
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:80]),
    "last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "noise": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_named_and_the_one_before_used(tmp_path, damage):
    before, last = two(tmp_path)
    damage(last)
    with pytest.warns(UserWarning, match="checkpoint .*epoch-0002.pt is torn, corrupted or"):
        found = checkpoint.latest(tmp_path)
    assert found.path == before and found.state["epoch"] == 1
    checkpoint.save(tmp_path, 2, WEIGHTS, STATE | {"epoch": 2})  # takes the damaged one's place
    assert checkpoint.latest(tmp_path).path == last


def test_a_new_beginning_outlives_the_damaged_ones(tmp_path):
    for path in two(tmp_path):
        flip_a_bit(path)
    with pytest.warns(UserWarning, match="epoch-000[12].pt is torn") as warned:
        assert checkpoint.latest(tmp_path) is None
    assert len(warned) == 2
    checkpoint.save(tmp_path, 1, WEIGHTS, STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001.pt"]


class Intruder:
    """What a pickle may do when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


MALICE = {
    "torch": torch.save,
    "pickle": lambda thing, path: path.write_bytes(pickle.dumps(thing, 2)),
    "old torch": lambda thing, path: torch.save(thing, path, _use_new_zipfile_serialization=False),
    "code": lambda thing, path: path.write_bytes(f"cos\nmkdir\n(V{thing['state'].path}\ntR.".encode()),
}


@pytest.mark.parametrize("dump", MALICE.values(), ids=MALICE)
def test_no_pickle_of_somebody_else_is_opened(tmp_path, dump):
    _, last = two(tmp_path)
    dump({"weights": {}, "state": Intruder(tmp_path / "harm")}, last)
    last.write_bytes(last.read_bytes() + hashlib.sha256(last.read_bytes()).digest())
    with pytest.raises(ValueError, match="epoch-0002.pt is not opened: it holds more than tensors"):
        checkpoint.latest(tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("thing", [[], {"weights": {}}, {"weights": {}, "state": {}, "more": 1}], ids=str)
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, thing):
    torch.save(thing, tmp_path / "epoch-0001.pt")
    content = (tmp_path / "epoch-0001.pt").read_bytes()
    (tmp_path / "epoch-0001.pt").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(ValueError, match="epoch-0001.pt is not opened"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch, call):
    two(tmp_path)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((files.Path, "write_bytes") if call == "write" else (os, call)), full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path, 3, WEIGHTS, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.pt", "epoch-0002.pt"]
    assert checkpoint.latest(tmp_path).state["epoch"] == 2
