"""Nothing is lost: not by a kill, not by Ctrl-C, not by a full disk, and not by a loss that is no number."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from eamlib import create_model
from eamlib.training import checkpoint, pixel_statistics, seed_everything
from eamlib.training import loading as _loading
from eamlib.training.lock import Busy

pytest.importorskip("tqdm")

FINAL = tiny.EVERYTHING["epochs"]


@pytest.mark.slow  # a process per death; tests/faults/killing.py asks a hundred more
@pytest.mark.parametrize(("way", "count"), [("moments", 3), ("calls", FINAL)])
def test_a_killed_run_ends_bit_identical(tmp_path, way, count):
    """A selection; the rest is in tests/faults/killing.py.

    Slow, for it trains many times: what alone shows that a kill loses nothing, whatever it meets.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).parents[1] / "faults" / "killed.py", tmp_path, way, str(count)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] >= 3 and result["same"] == result.get("runs", result["kills"])


class Stop(Exception):
    pass


def after(batches, error):
    """An augmentation that raises ``error`` after so many batches; to the configuration it is tiny.flip."""
    left = iter([None] * batches)

    def flip(images, *, generator):
        if next(left, error) is not None:
            raise error
        return tiny.flip(images, generator=generator)

    flip.__qualname__ = tiny.flip.__qualname__
    return flip


BATCHES = 5  # an epoch


def test_the_same_call_goes_on_and_when_done_does_nothing(tmp_path, capsys):
    model, history = tiny.run(tmp_path / "alone")
    with pytest.raises(Stop):
        tiny.run(tmp_path / "stopped", augment=after(2 * BATCHES + 3, Stop()))
    assert [path.stem for path in sorted((tmp_path / "stopped").glob("epoch-*"))] == ["epoch-0001", "epoch-0002"]
    with (tmp_path / "stopped" / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    torch.rand(5)  # torch's own generator is elsewhere now
    again, resumed = tiny.run(tmp_path / "stopped", progress=True)
    assert "epoch-0002.pt: 2 of 6 epochs are done." in capsys.readouterr().err
    assert tiny.numbers(resumed) == tiny.numbers(history)
    assert tiny.kept(tmp_path / "stopped") == tiny.kept(tmp_path / "alone")
    lines = (tmp_path / "stopped" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == resumed

    before = tiny.kept(tmp_path / "stopped")
    once_more, same = tiny.run(tmp_path / "stopped", augment=after(0, Stop()))
    assert same == resumed and tiny.kept(tmp_path / "stopped") == before
    for trained in (again, once_more):
        assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in trained.state_dict().items())


def test_a_folder_changes_nothing(tmp_path):
    assert tiny.numbers(tiny.run()[1]) == tiny.numbers(tiny.run(tmp_path)[1])


def test_a_corrupted_checkpoint_is_named_and_the_one_before_used(tmp_path):
    tiny.run(tmp_path / "alone")
    tiny.run(tmp_path / "hit")
    last = tmp_path / "hit" / f"epoch-{FINAL:04d}.pt"
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match=f"epoch-{FINAL:04d}.pt is torn, corrupted .* .it does not have its checksum"):
        tiny.run(tmp_path / "hit")
    assert tiny.kept(tmp_path / "hit") == tiny.kept(tmp_path / "alone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.2}, "learning_rate = 0.2 here and 0.1 there"),
        ({"epochs": 7, "ema": None}, "epochs = 7 here and 6 there; ema = None here and 0.9 there"),
        ({"augment": partial(tiny.flip)}, "augment = 'flip.*' here and 'flip' there"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(432, 4))}, "model = 'Sequential, 1,732 parameters, structure"),
    ],
)
def test_another_configuration_is_refused_by_name(tmp_path, change, message):
    tiny.run(tmp_path)
    before = tiny.kept(tmp_path)
    options = {"temperature": None} | change if "model" in change else change
    with pytest.raises(ValueError, match=f"folder = '{tmp_path}' belongs to another run: .*{message}"):
        tiny.run(tmp_path, **options)
    assert tiny.kept(tmp_path) == before


def test_a_partial_is_the_same_in_the_next_process(tmp_path):
    tiny.run(tmp_path, epochs=1, augment=partial(tiny.flip))
    tiny.run(tmp_path, epochs=1, augment=partial(tiny.flip))


def test_ctrl_c_says_what_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=f"{tmp_path} holds no finished epoch, and the same call begins again"):
        tiny.run(tmp_path, augment=after(3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt, match=f"{tmp_path}/epoch-0001.pt is kept, and the same call goes on"):
        tiny.run(tmp_path, augment=after(BATCHES + 3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt, match="nothing is kept without a folder"):
        tiny.run(augment=after(3, KeyboardInterrupt()))


def test_a_full_disk_ends_cleanly(tmp_path, monkeypatch):
    tiny.run(tmp_path / "alone")
    write = Path.write_bytes

    def full(path, content):
        if "epoch-0002" in path.name:
            write(path, content[:99])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="epoch 2 could not be kept .No space left.*epoch-0001.pt is kept"):
            tiny.run(tmp_path / "full")
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["epoch-0001.pt", "history.jsonl"]
    tiny.run(tmp_path / "full")
    assert tiny.kept(tmp_path / "full") == tiny.kept(tmp_path / "alone")


class Bomb(nn.Module):
    """Harmless until step ``at``, counted from 1; then its output, or else its gradient, is ``value``."""

    def __init__(self, at, value, in_gradient=False):
        super().__init__()
        self.at, self.value, self.in_gradient, self.step = at, value, in_gradient, 0

    def forward(self, input):
        self.step += self.training
        if self.step < self.at or not self.training:
            return input
        if self.in_gradient:
            input.register_hook(lambda gradient: gradient * self.value)
            return input
        return input * self.value


@pytest.mark.parametrize(
    ("bomb", "message", "last"),
    [
        (Bomb(8, float("nan")), "in epoch 2, at step 8 of 30 and learning rate 0.0918: it is nan", 1),
        (Bomb(13, float("inf")), "in epoch 3, at step 13 of 30 and learning rate 0.0.*: it is (nan|inf)", 2),
        (Bomb(10, float("inf"), in_gradient=True), "in epoch 2, at step 10 of 30 .*: the step left weights", 1),
    ],
    ids=["nan", "inf", "weights"],
)
def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_last_good_state(tmp_path, bomb, message, last):
    model = nn.Sequential(*tiny.without_batch_norm(), bomb)
    with pytest.raises(FloatingPointError, match=f"{message}.*last good state is {tmp_path}/epoch-000{last}.pt"):
        tiny.run(tmp_path, model, temperature=None)
    found = checkpoint.latest(tmp_path)
    assert found.path.name == f"epoch-000{last}.pt"
    assert all(weight.isfinite().all() for weight in found.weights["weights"].values())


def test_a_file_in_the_place_of_the_folder_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        tiny.run(tmp_path / "file", augment=after(0, Stop()))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_has_one_run_at_a_time(tmp_path):
    def twice(images, *, generator):
        with pytest.raises(Busy, match=f"{tmp_path}/lock is held by process {os.getpid()} on"):
            tiny.run(tmp_path, learning_rate=0.2)
        return tiny.flip(images, generator=generator)

    twice.__qualname__ = tiny.flip.__qualname__
    _, history = tiny.run(tmp_path, augment=twice, epochs=1)
    assert [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()] == history
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.pt", "history.jsonl"]


def test_a_folder_that_is_taken_away_is_noticed_at_the_next_epoch(tmp_path):
    lines = []

    def clear_up(line):
        lines.append(line)
        shutil.rmtree(tmp_path)

    with pytest.raises(Busy, match=f"{tmp_path}/lock, which this process held, was removed"):
        tiny.run(tmp_path, after_epoch=clear_up)
    assert len(lines) == 1 and not tmp_path.exists()


def test_a_run_that_is_refused_lets_the_folder_go(tmp_path):
    tiny.run(tmp_path, epochs=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="belongs to another run"):
            tiny.run(tmp_path, epochs=2)


@pytest.mark.parametrize("average", [False, True])
def test_a_note_beside_the_checkpoints_says_how_they_are_loaded(tmp_path, average):
    network = {"num_classes": 4, "width_mult": 0.125, "stem_stride": 1}
    seed_everything(0)
    trained = create_model("mobilenet_v1", "eam-rcr", **network)
    folder, train = tmp_path / "Käse", tiny.images()
    tiny.run(folder, trained, epochs=1, batch_size=35, ema=0.9 if average else None)
    _loading.note(folder, pixel_statistics(train), average, "mobilenet_v1", "eam-rcr", **network)

    text, names = (folder / "README.md").read_text(encoding="utf-8"), {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    loaded = names["model"]
    kept = checkpoint.latest(folder).weights["average" if average else "weights"]
    torch.testing.assert_close(loaded.state_dict(), kept, rtol=0, atol=0)
    assert not loaded.training and repr(loaded) == repr(trained.eval())
    mean, std = (statistic.flatten() for statistic in pixel_statistics(train))
    said = [[float(number) for number in row.split(", ")] for row in re.findall(r"\[(0\.[\d., ]+)\]", text)]
    torch.testing.assert_close(torch.tensor(said), torch.stack([mean, std]), rtol=0, atol=1e-4)
