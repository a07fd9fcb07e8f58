"""Whatever happens to a checkpoint on the disk, it is refused by name: `make faults`."""

import random
import warnings

import pytest
import tiny

from eamlib.training import checkpoint


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a finished run, and the content of its last checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    tiny.run(folder)
    return folder, checkpoint.latest(folder).path.read_bytes()


def refused(folder, content):
    """Whether the last checkpoint, with this content, is named in a warning and the one before it used."""
    path = checkpoint.path_of(folder, tiny.EVERYTHING["epochs"])
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = checkpoint.latest(folder)
    return found.path != path and len(caught) == 1 and str(path) in str(caught[0].message)


def flipped(content, bits):
    changed = bytearray(content)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_the_checksum(kept):
    folder, content = kept
    bits = 8 * len(content)
    assert all(refused(folder, flipped(content, [bit])) for bit in range(bits - 8 * checkpoint.DIGEST, bits))


def test_a_flipped_bit_anywhere(kept):
    folder, content = kept
    draw = random.Random(0)
    for count in (1, 2, 16):
        assert all(refused(folder, flipped(content, draw.sample(range(8 * len(content)), count))) for _ in range(60))


def test_a_truncated_one(kept):
    folder, content = kept
    lengths = [*range(100), *range(100, len(content) - 100, 997), *range(len(content) - 100, len(content))]
    assert all(refused(folder, content[:length]) for length in lengths)
    assert refused(folder, content + b"?") and refused(folder, b"\0" * len(content))


def test_one_of_another_run(kept, tmp_path):
    _, content = kept
    (tmp_path / "epoch-0006.pt").write_bytes(content)
    with pytest.raises(ValueError, match="belongs to another run: learning_rate = 0.2 here and 0.1 there"):
        tiny.run(tmp_path, learning_rate=0.2)
    assert (tmp_path / "epoch-0006.pt").read_bytes() == content
