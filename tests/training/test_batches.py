"""Batches of sets in memory and on disk: the same face, whoever decodes, and nothing is lost."""

import multiprocessing
import os
import re
import signal

import pytest
import tiny
import torch

from eamlib import create_model
from eamlib.data.imagenet import ImageFolderSet
from eamlib.training import evaluate, pixel_statistics
from eamlib.training.batches import feed, lost_workers_named, parts

pytest.importorskip("torchvision")
pytest.importorskip("tqdm")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return tiny.on_disk(tmp_path_factory.mktemp("images"))


def read(dataset, count=10, seed=0, **options):
    """All batches of ``dataset``, in its order, as they are trained on."""
    batches = torch.arange(len(dataset)).split(count)
    draws = None if seed is None else torch.Generator().manual_seed(seed)
    return list(feed(dataset, CPU, **options).read(batches, draws))


def test_both_kinds_read_the_images_that_are_asked_for(sets):
    train = tiny.images()
    [[images, labels]] = feed(train, CPU).read([torch.tensor([5, 3])])
    assert torch.equal(images, train.images[[5, 3]]) and torch.equal(labels, train.labels[[5, 3]])
    [[images, labels]] = feed(sets[0], CPU, workers=0).read([torch.tensor([7, 3])])
    [[expected, _]] = sets[0].stream([torch.tensor([7, 3])])
    assert torch.equal(images, expected) and torch.equal(labels, sets[0].labels[[7, 3]])
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64


def test_images_in_memory_are_augmented_where_something_is_drawn():
    train = tiny.images()
    tested, trained = (read(train, 70, seed, augment=tiny.flip)[0][0] for seed in (None, 0))
    assert torch.equal(tested, train.images)
    assert torch.equal(trained, tiny.flip(train.images, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("workers", [1, 2])
def test_images_on_disk_do_not_depend_on_who_decodes_them(sets, workers):
    alone, others = (read(sets[0], workers=count) for count in (0, workers))
    assert [len(labels) for _, labels in others] == [10, 10, 4]
    for ours, theirs in zip(alone, others, strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert not torch.equal(alone[0][0], read(sets[0], workers=0, seed=1)[0][0])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_parts_of_all_processes_are_the_batches(sets, kind, processes, monkeypatch):
    dataset, options = (tiny.images(24), {}) if kind == "memory" else (sets[0], {"workers": 0})
    whole, decoded, item = read(dataset, **options), [], ImageFolderSet.__getitem__
    monkeypatch.setattr(ImageFolderSet, "__getitem__", lambda s, i: decoded.append(i) or item(s, i))
    shares = [read(dataset, **options, process=process, processes=processes) for process in range(processes)]
    for batch, *mine in zip(whole, *shares, strict=True):
        assert torch.equal(batch[0], torch.cat([images for images, _ in mine]))
        assert torch.equal(batch[1], torch.cat([labels for _, labels in mine]))
    assert sorted(decoded) == ([] if kind == "memory" else list(range(24)))  # each image by one process alone


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_image_stands_in_where_there_is_none(sets, kind):
    dataset, options = (tiny.images(24), {}) if kind == "memory" else (sets[0], {"workers": 0})
    [_, (first, label)], [_, (second, stand_in)] = (
        read(dataset, 23, **options, process=process, processes=2) for process in (0, 1)
    )
    assert torch.equal(first, second) and label.tolist() == [dataset.labels[23]] and stand_in.tolist() == [-100]


def test_parts_are_the_batch():
    images, labels = torch.arange(5), torch.arange(5, 10)
    assert [len(x) for x, _ in parts(images, labels, 3)] == [2, 2, 1]
    assert torch.equal(torch.cat([y for _, y in parts(images, labels, 3)]), labels)


def test_reading_draws_nothing_from_torchs_own_generator(sets):
    before = torch.get_rng_state()
    for workers in (0, 1):
        read(sets[0], workers=workers)
        read(sets[1], workers=workers, seed=None)
    assert torch.equal(torch.get_rng_state(), before)


def train(folder, sets, stop_at=None, **options):
    """Everything that can be lost, on images on disk; Ctrl-C in step ``stop_at``, counted from 1."""
    model = tiny.of_photographs(tiny.network())
    if stop_at:
        steps = iter(range(1, stop_at + 1))

        def stop(module, inputs):
            if module.training and next(steps) == stop_at:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(stop)
    return tiny.run(folder, model, sets, **{"augment": None, "epochs": 3, "batch_size": 10} | options)


def test_an_interrupted_run_on_disk_ends_bit_identical(sets, tmp_path):
    # Slow, for workers decode photographs: the one test of a run that is resumed with another number of them.
    _, history = train(tmp_path / "alone", sets, epochs=2, workers=0)
    with pytest.raises(KeyboardInterrupt, match="epoch-0001.pt is kept"):
        train(tmp_path / "stopped", sets, epochs=2, stop_at=5, workers=0)
    torch.rand(5)  # torch's own generator is elsewhere now
    _, resumed = train(tmp_path / "stopped", sets, epochs=2, workers=2)
    assert tiny.numbers(resumed) == tiny.numbers(history)
    assert tiny.kept(tmp_path / "stopped") == tiny.kept(tmp_path / "alone")


def test_a_run_on_disk_is_its_files_wherever_they_are(sets, tmp_path):
    train(tmp_path / "run", sets, epochs=1, workers=0)
    elsewhere = tiny.on_disk(tmp_path / "elsewhere")
    train(tmp_path / "run", elsewhere, epochs=1, workers=0)
    elsewhere[0].files[0].rename(elsewhere[0].files[0].with_name("another.JPEG"))
    with pytest.raises(ValueError, match="belongs to another run: train = 'imagenet100, 24 images, files "):
        train(tmp_path / "run", tiny.on_disk(tmp_path / "elsewhere"), epochs=1, workers=0)


def test_a_damaged_image_is_named_and_the_run_goes_on_without_it(tmp_path):
    sets = tiny.on_disk(tmp_path / "images")
    file = sets[0].files[3]
    whole = file.read_bytes()
    file.write_bytes(whole[:300])
    for workers in (0, 1):
        with pytest.raises(ValueError, match=f"{file} cannot be read"):
            train(tmp_path / "run", sets, epochs=1, workers=workers)
    file.write_bytes(whole)
    train(tmp_path / "run", sets, epochs=1, workers=0)


def worker_that(fails, monkeypatch, index):
    """Let ``fails`` run in the worker that is asked for image ``index``, and in no process that trains."""
    item = ImageFolderSet.__getitem__

    def asked(dataset, asked_for):
        if multiprocessing.parent_process() is not None and asked_for == index:
            fails()
        return item(dataset, asked_for)

    monkeypatch.setattr(ImageFolderSet, "__getitem__", asked)


def killed_by(number):
    return lambda: os.kill(os.getpid(), number)


def no_shared_memory():
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the signal may meet a destructor
@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (killed_by(signal.SIGKILL), "a worker, .* was killed, most often for want of memory. Take fewer workers"),
        (lambda: os._exit(1), "a worker, .* was killed"),
        (killed_by(signal.SIGBUS), r"no room in shared memory \(/dev/shm\).* workers = 0"),
        (no_shared_memory, r"no room in shared memory \(/dev/shm\).* workers = 0"),
    ],
    ids=["killed", "ended", "bus error", "no room"],
)
def test_a_lost_worker_is_named(sets, monkeypatch, fails, message):
    worker_that(fails, monkeypatch, 13)
    said = []
    for _ in range(3):  # where the signal meets a destructor, PyTorch's report of it is lost, and with it the reason
        with pytest.raises(ChildProcessError) as caught, lost_workers_named():
            read(sets[0], workers=1)
        said.append(str(caught.value))
        if re.search(message, said[-1]):
            return
    pytest.fail(f"nothing of {said} says {message}")


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError, FileNotFoundError])
def test_a_worker_that_is_missed_before_pytorch_reports_it_is_named_too(sets, monkeypatch, error):
    def broken(dataset, batches, **options):
        yield from ()
        raise error

    monkeypatch.setattr(ImageFolderSet, "stream", broken)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ChildProcessError, match="was killed"), lost_workers_named():
        read(sets[0], workers=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the signal may meet a destructor
def test_a_run_whose_worker_was_killed_goes_on(sets, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", sets, workers=0, epochs=2, stop_at=5)
    with monkeypatch.context() as patch:
        worker_that(killed_by(signal.SIGKILL), patch, 13)
        with pytest.raises(ChildProcessError, match=f"killed, .* {tmp_path}/run/epoch-0001.pt is kept, and the same"):
            train(tmp_path / "run", sets, workers=1, epochs=2)
        with pytest.raises(ChildProcessError, match="killed"):
            evaluate(tiny.of_photographs(tiny.network()), sets[0], workers=1)
    _, resumed = train(tmp_path / "run", sets, workers=0, epochs=2)
    assert [line["epoch"] for line in resumed] == [1, 2]


def test_other_errors_of_a_worker_stay_what_they_are(sets, monkeypatch):
    def wrong():
        raise RuntimeError("shapes do not fit")

    worker_that(wrong, monkeypatch, 3)
    with pytest.raises(RuntimeError, match="shapes do not fit"), lost_workers_named():
        read(sets[0], workers=1)


def test_evaluate_takes_the_central_squares(sets):
    model = create_model("mobilenet_v1", num_classes=4, width_mult=0.125).eval()
    [[images, labels]] = sets[1].stream([torch.arange(4)])
    mean, std = pixel_statistics(sets[1])
    with torch.no_grad():
        right = (model((images / 255 - mean) / std).argmax(1) == labels).sum().item()
    assert evaluate(model, sets[1], workers=0, batch_size=3) == 100 * right / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": tiny.flip}, "augment = <function flip.* is for sets in memory; allowed for imagenet100 is None"),
        ({"workers": -1}, "workers = -1 must be an integer of at least 0"),
        ({"workers": 1.5}, "workers = 1.5 must be"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(sets, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", sets, **options)
    assert not (tmp_path / "run").exists()


def test_workers_are_for_sets_on_disk(tmp_path):
    with pytest.raises(ValueError, match="workers = 2 is for sets on disk; allowed for corners is None"):
        tiny.run(tmp_path / "run", workers=2)
    with pytest.raises(ValueError, match="batch_size = 0 must be"):
        evaluate(tiny.network(), tiny.images(), batch_size=0)
    assert not (tmp_path / "run").exists()


def test_the_processes_of_a_machine_share_its_cores(sets, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert feed(sets[0], CPU).workers == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert feed(sets[0], CPU).workers == 1
