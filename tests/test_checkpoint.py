"""What is written comes back; what was damaged is named; what is not ours is not opened."""

import errno
import hashlib
import os
import pickle
import subprocess

import pytest
import torch

from eamlib import checkpoint

pytest.importorskip("safetensors")

WEIGHTS = {"weights": {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}}
STATE = {"history": [{"epoch": 1, "loss": 0.5}], "generator": torch.Generator().get_state(), "none": None}


def two(folder):
    for epoch in (1, 2):
        checkpoint.save(folder, epoch, WEIGHTS, STATE | {"epoch": epoch})
    return folder / "epoch-0001", folder / "epoch-0002"


def test_what_is_saved_comes_back(tmp_path):
    channels_last = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    shared = torch.randn(3)
    weights = {"weights": {"x": channels_last, "y": shared, "z": shared}, "average": {"x": -channels_last}}
    path = checkpoint.save(tmp_path / "made" / "here", 7, weights, STATE)
    found = checkpoint.latest(tmp_path / "made" / "here")
    assert path == found.path == tmp_path / "made" / "here" / "epoch-0007"
    assert {name: set(tensors) for name, tensors in found.weights.items()} == {"weights": set("xyz"), "average": {"x"}}
    assert torch.equal(found.weights["weights"]["x"], channels_last)
    assert torch.equal(found.state.pop("generator"), STATE["generator"])
    assert found.state == {"history": [{"epoch": 1, "loss": 0.5}], "none": None}


def test_sha256sum_understands_the_sums(tmp_path):
    checkpoint.save(tmp_path, 1, WEIGHTS, STATE)
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "epoch-0001", capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count("OK") == 2


def test_the_last_two_stay(tmp_path):
    for epoch in (9998, 9999, 10000):
        checkpoint.save(tmp_path, epoch, WEIGHTS, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-10000", "epoch-9999"]
    assert checkpoint.latest(tmp_path).path.name == "epoch-10000"


def test_no_checkpoint_is_none(tmp_path):
    (tmp_path / "epoch-old").mkdir()
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "SHA256SUMS"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:80]),
        lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
    ],
    ids=["bit", "missing", "empty", "torn", "noise"],
)
def test_a_damaged_one_is_named_and_the_one_before_used(tmp_path, name, damage):
    before, last = two(tmp_path)
    damage(last / name)
    with pytest.warns(UserWarning, match="checkpoint .*epoch-0002 is torn or corrupted"):
        found = checkpoint.latest(tmp_path)
    assert found.path == before and found.state["epoch"] == 1
    checkpoint.save(tmp_path, 2, WEIGHTS, STATE | {"epoch": 2})  # takes the damaged one's place
    assert checkpoint.latest(tmp_path).path == last


def test_a_new_beginning_outlives_the_damaged_ones(tmp_path):
    for path in two(tmp_path):
        flip_a_bit(path / "state.pt")
    with pytest.warns(UserWarning, match="epoch-000[12] is torn") as warned:
        assert checkpoint.latest(tmp_path) is None
    assert len(warned) == 2
    checkpoint.save(tmp_path, 1, WEIGHTS, STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


class Intruder:
    """What a pickle may do when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("dump", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
def test_no_pickle_of_somebody_else_is_opened(tmp_path, dump):
    _, last = two(tmp_path)
    dump({"history": Intruder(tmp_path / "harm")}, last / "state.pt")
    sums = last / "SHA256SUMS"
    digest = hashlib.sha256((last / "state.pt").read_bytes()).hexdigest()
    sums.write_text(sums.read_text().splitlines(keepends=True)[0] + f"{digest}  state.pt\n")
    with pytest.raises(ValueError, match="epoch-0002/state.pt is not opened: it holds more than tensors"):
        checkpoint.latest(tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("file", [0, 1, 2])
def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch, file):
    two(tmp_path)
    written = []

    def write(path, content):
        written.append(path)
        path.write_bytes(content[:10])
        if len(written) > file:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", write)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 3, WEIGHTS, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001", "epoch-0002"]
    assert checkpoint.latest(tmp_path).state["epoch"] == 2
