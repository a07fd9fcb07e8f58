"""A training loop to read from top to bottom: batches on the device, SGD, and a checkpoint after every epoch."""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eamlib._checks import positive_int
from eamlib._extras import need
from eamlib.analysis._unchanged import same_modules, same_random_numbers
from eamlib.analysis.watch import evaluating, watch
from eamlib.data.imagenet import MEAN, STD, ImageFolderSet
from eamlib.data.sets import ImageSet
from eamlib.layers import set_temperature
from eamlib.training.batches import InMemory, OnDisk, check_set, feed, lost_workers_named, parts
from eamlib.training.processes import Place
from eamlib.training.recipe import PRECISIONS, Recipe
from eamlib.training.run import Run, described

if TYPE_CHECKING:
    from tqdm import tqdm


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch. Call it before the network is made, which is when its weights are drawn.

    Example:
        >>> seed_everything(0)
        >>> first = torch.rand(3)
        >>> seed_everything(0)
        >>> torch.equal(first, torch.rand(3))
        True
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for; without one, CUDA if there is a GPU and else the CPU.

    Raises:
        ValueError: if torch knows no such device, or CUDA is asked for and there is none.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
        >>> pick_device("abacus")
        Traceback (most recent call last):
            ...
        ValueError: device = 'abacus' is no device that torch knows; allowed: cpu, cuda, …
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device = {device!r} is no device that torch knows; allowed: cpu, cuda, …") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {device!r} needs a CUDA GPU, and torch sees none; allowed here: cpu.")
    return picked


def check_precision(precision: str, device: torch.device) -> None:
    """Raise a ``ValueError`` if ``device`` cannot train in a precision of :class:`eamlib.training.recipe.Recipe`."""
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision = 'fp16' needs a CUDA GPU, not {device}; allowed here: float32, bf16.")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"precision = 'bf16' is emulated on {device}, slower than float32; allowed here: float32, fp16."
        )


def fit(
    model: nn.Module,
    train: ImageSet | ImageFolderSet,
    test: ImageSet | ImageFolderSet,
    *,
    device: torch.device | str | None = None,
    compile: bool = False,
    channels_last: bool = False,
    workers: int | None = None,
    folder: str | Path | None = None,
    tensorboard: str | Path | None = None,
    progress: bool = True,
    after_epoch: Callable[[dict], None] | None = None,
    **recipe,
) -> list[dict]:
    """Train ``model`` in place and return its history.

    With a ``folder`` nothing is lost: after a kill at any moment, the same call resumes from the last finished epoch.
    On the CPU it then ends bit-identical to a run that was never interrupted.

    Under ``torchrun`` the same call trains on several devices: each process takes its share of every batch, and the
    steps are those of one process. Only batch normalisation sees a share instead of the batch, and its running
    statistics are the first process's.

    Args:
        model: ``[B, C, H, W] -> [B, classes]``; it is moved to ``device``. Parts of a model in train mode that are in
            eval mode stay in it, such as batch normalisation with frozen statistics. A model in eval mode is trained as
            a whole.
        train, test: image sets. A set in memory lives on the device as uint8 during training. A set on disk is decoded
            by each process for its share, and its training images are cropped and mirrored at random.
        device: None takes CUDA if there is a GPU. Under a launcher each process has a GPU of its own.
        compile: run the network through ``torch.compile``.
        channels_last: keep images and weights with the channels innermost.
        workers: for sets on disk, the number of decoding processes beside each process that trains. 0 decodes in the
            latter; None takes one per core, 16 at most. The result does not depend on it.
        folder: where one checkpoint per epoch is written, of which the last two stay, and ``history.jsonl``. No other
            run may use it meanwhile. ``eamlib.training.checkpoint.latest(folder).weights`` holds the last
            ``["weights"]`` and, with ``ema``, their ``["average"]``. None keeps nothing.
        tensorboard: folder for TensorBoard's curves.
        progress: show a bar (tqdm) with one tick per step, and say where a run resumes.
        after_epoch: called with each epoch's line of the history once it is kept, to look at ``model`` during
            training. It should change neither the weights nor the state of a random number generator.
        recipe: what the result depends on, by the names of :class:`eamlib.training.recipe.Recipe`: ``epochs``, which is
            required, ``batch_size``, ``learning_rate``, ``schedule``, ``warm_up``, ``momentum``, ``weight_decay``,
            ``label_smoothing``, ``seed``, ``augment``, ``temperature``, ``ema``, ``precision``, ``accumulate``.

    Returns:
        One dict per epoch with ``epoch`` (from 1), ``loss`` (mean over the epoch), ``train_accuracy`` (while training),
        ``test_accuracy``, both in percent, and ``seconds`` (training and test).

    Raises:
        ValueError: if a value is out of its range, there is no such device, a set is not one of this library's, the
            model has no temperature or no parameter that requires a gradient, batch normalisation would meet a single
            value in the last batch, ``augment`` is given for a set on disk or ``workers`` for one in memory, or
            ``folder`` belongs to a run of another configuration. Later, with its path, if an image on disk is damaged.
        ModuleNotFoundError: if tqdm, or TensorBoard if it is wanted, is missing; the message says how to install it.
        eamlib.training.lock.Busy: if another run is using ``folder``, with its name; or if ``folder`` was removed.
        FloatingPointError: if the loss or the weights are no longer finite; the message has the step and the learning
            rate. No checkpoint holds such weights.
        KeyboardInterrupt: on Ctrl-C; the message says what is kept.
        OSError: if an epoch cannot be kept, on a full disk for example; earlier checkpoints are intact. A
            ``ChildProcessError`` if a decoding process was killed, for want of memory for example, or lacks shared
            memory.

    Example:
        >>> seed_everything(0)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))  # any network will do
        >>> train, test = eamlib.data.load("digits"), eamlib.data.load("digits", train=False)
        >>> history = fit(model, train, test, epochs=2, learning_rate=0.01, device="cpu", progress=False)
        >>> sorted(history[0])
        ['epoch', 'loss', 'seconds', 'test_accuracy', 'train_accuracy']
        >>> len(history), history[-1]["test_accuracy"] > 80
        (2, True)
    """
    need("train", "tqdm")
    recipe = Recipe(**recipe)
    check_set("train", train)
    check_set("test", test)
    place = Place.of_this_process(pick_device(device))
    check_precision(recipe.precision, place.device)
    if recipe.temperature is not None:
        set_temperature(model, recipe.temperature)
    frozen = _frozen(model)
    configuration = described(vars(recipe) | {"model": model, "train": train, "test": test})

    layout = torch.channels_last if channels_last else torch.preserve_format
    model.to(place.device, memory_format=layout)
    average = None if recipe.ema is None else copy.deepcopy(model).requires_grad_(False)
    images_of_train = feed(train, augment=recipe.augment, workers=workers, **vars(place))
    images_of_test = feed(test, workers=workers, **vars(place))
    mean, std = (statistic.to(place.device) for statistic in pixel_statistics(train))
    _check_trainable(model, frozen, images_of_train, recipe)
    network = place.together(torch.compile(model) if compile else model)
    optimizer = recipe.optimizer(model)
    scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "fp16")
    # On the CPU, so that every device and every process draws the same.
    order, draws = (torch.Generator().manual_seed(seed) for seed in (recipe.seed, recipe.seed + 1))
    run = Run(
        folder=None if folder is None else Path(folder),
        tensorboard=tensorboard,
        configuration=configuration,
        modules={"weights": model, "average": average},
        states={"optimizer": optimizer, "scaler": scaler if scaler.is_enabled() else None},
        generators={"order": order, "augment": draws},
        writes=place.process == 0,
    )
    shown = progress and place.process == 0
    with lost_workers_named(run.kept), run.resumed(), _ends_explained(run), _bar(run, len(train), recipe, shown) as bar:
        for epoch in range(len(run.history) + 1, recipe.epochs + 1):
            start = time.perf_counter()
            _train_mode(model, frozen)
            batches = torch.randperm(len(train), generator=order).split(recipe.batch_size)
            images = (
                (normalize(pixels, mean, std).to(memory_format=layout), labels)
                for pixels, labels in images_of_train.read(batches, draws)
            )
            line = {"epoch": epoch} | train_one_epoch(
                network, batches, images, optimizer, scaler, recipe, place, average, epoch, bar
            )
            _share_buffers(model, average, place)
            known = _right_answers(model if average is None else average, images_of_test, mean, std)
            line["test_accuracy"] = 100 * int(place.total(known.sum())) / len(test)
            line["seconds"] = time.perf_counter() - start
            run.record(line)
            if after_epoch is not None:
                after_epoch(line)
            bar.set_postfix(test=f"{line['test_accuracy']:.1f} %")
    if average is not None:
        model.load_state_dict(average.state_dict())
    return run.history


def train_one_epoch(
    network: nn.Module,
    batches: Sequence[Tensor],
    images: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    place: Place,
    average: nn.Module | None,
    epoch: int,
    bar: tqdm,
) -> dict[str, float]:
    """Take a step per batch; ``images`` yields this process's part of each batch, normalised, and its labels."""
    count, steps = sum(map(len, batches)), recipe.epochs * len(batches)
    losses, right = torch.zeros(len(batches), device=place.device), torch.tensor(0, device=place.device)
    dtype = PRECISIONS[recipe.precision]
    look_every = 50 if place.device.type == "cuda" else 1  # a look at a number makes the CPU wait for the GPU
    try:
        for i, (pixels, labels) in enumerate(images):
            step = (epoch - 1) * len(batches) + i
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step, steps)
            temperature = recipe.temperature_at(step, steps)
            if temperature != recipe.temperature_at(step - 1, steps):
                set_temperature(network, temperature)
            for part, (x, y) in enumerate(parts(pixels, labels, recipe.accumulate), start=1):
                with place.apart(network, part < recipe.accumulate):
                    with torch.autocast(place.device.type, dtype, enabled=dtype != torch.float32):
                        logits = network(x)
                    loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing, reduction="sum")
                    loss = loss / len(batches[i])
                    scaler.scale(loss * place.processes).backward()  # gradients come as the mean over processes
                losses[i] += loss.detach()
                right += (logits.argmax(1) == y).sum()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if average is not None:
                _follow(average, network, recipe.ema_at(step))
            bar.update()
            if (i + 1) % look_every == 0 or i + 1 == len(batches):
                unseen = place.total(losses[i - i % look_every : i + 1])
                if len(bad := (~unseen.isfinite()).nonzero()):
                    step += int(bad[0]) + 1 - len(unseen)
                    raise FloatingPointError(f"it is {unseen[bad[0]].item()}.")
        if not all(parameter.isfinite().all() for parameter in network.parameters()):
            raise FloatingPointError("the step left weights that are not finite.")
    except FloatingPointError as error:  # a layer's, perhaps
        raise FloatingPointError(
            f"the loss is no longer finite in epoch {epoch}, at step {step + 1} of {steps} and learning rate "
            f"{recipe.learning_rate_at(step, steps):.3g}: {error} learning_rate = {recipe.learning_rate} is likely too "
            "high."
        ) from error
    mean = sum(loss * len(batch) for loss, batch in zip(losses.tolist(), batches, strict=True)) / count
    return {"loss": mean, "train_accuracy": 100 * int(place.total(right)) / count}


@contextmanager
def _ends_explained(run: Run) -> Iterator[None]:
    """Add what is kept to the message of an error that ends a run, or of Ctrl-C."""
    try:
        yield
    except FloatingPointError as error:
        last = f" The last good state is {run.last}." if run.last else ""
        raise FloatingPointError(f"{error}{last}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped by Ctrl-C; {run.kept()}") from None


def _frozen(model: nn.Module) -> list[nn.Module]:
    """The parts that stay in eval mode: of a model in train mode, those that are not."""
    return [module for module in model.modules() if not module.training] if model.training else []


def _train_mode(model: nn.Module, frozen: list[nn.Module]) -> None:
    model.train()
    for module in frozen:
        module.eval()


def _check_trainable(model: nn.Module, frozen: list[nn.Module], train: InMemory | OnDisk, recipe: Recipe) -> None:
    """Raise a ``ValueError`` if training would change nothing, or fail in the last batch of an epoch."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model = {type(model).__name__} has no parameter that requires a gradient: all are frozen.")
    last = len(train) % recipe.batch_size or recipe.batch_size
    if last >= 2 * recipe.accumulate * train.processes:
        return

    def single(name: str, inputs: tuple, _: None) -> bool | None:
        return inputs[0].numel() == inputs[0].shape[1] or None

    # The one error that it is to find is batch normalisation's own.
    with same_modules(model), same_random_numbers(), torch.no_grad(), suppress(ValueError):
        _train_mode(model, frozen)
        norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training}
        with watch(norms, single, before=True) as met:
            model(torch.rand(1, *train.shape, device=train.device))
    if refused := [name for name, calls in met.items() if calls]:
        raise ValueError(
            f"batch_size = {recipe.batch_size} leaves a last batch of {last} of {len(train)} images, in which batch "
            f"normalisation {refused[0]!r} meets a single value per channel and has no variance. Allowed is another "
            "batch_size, or fewer parts."
        )


def evaluate(
    model: nn.Module,
    dataset: ImageSet | ImageFolderSet,
    *,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> float:
    """Top-1 accuracy in percent, in eval mode, on the model's own device.

    Args:
        mean, std: pixel statistics of the training set, from :func:`pixel_statistics`; None takes ``dataset``'s own.
        batch_size: images run at once; None takes 512, or 128 for a set on disk.
        workers: for a set on disk, as in :func:`fit`.

    Raises:
        ValueError: if a value is out of its range; with its path, if an image on disk is damaged.
        ChildProcessError: as in :func:`fit`.

    Example:
        >>> test = eamlib.data.load("digits", train=False)
        >>> always_three = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        >>> always_three[1].bias.data[3] = 1000
        >>> round(evaluate(always_three, test), 1)  # a digit in ten
        10.2
    """
    known = right_answers(model, dataset, mean=mean, std=std, batch_size=batch_size, workers=workers)
    return 100 * int(known.sum()) / len(dataset)


def right_answers(
    model: nn.Module,
    dataset: ImageSet | ImageFolderSet,
    *,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Tensor:
    """Which images a network classifies correctly: bool, ``[N]``, on the CPU, in the order of the set.

    Arguments and errors are those of :func:`evaluate`, which counts them.

    Example:
        >>> test = eamlib.data.load("digits", train=False)
        >>> always_three = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
        >>> always_three[1].bias.data[3] = 1000
        >>> torch.equal(right_answers(always_three, test), test.labels == 3)
        True
    """
    check_set("dataset", dataset)
    if mean is None or std is None:
        mean, std = pixel_statistics(dataset)
    if batch_size is not None:
        positive_int("batch_size", batch_size)
    images = feed(dataset, next(model.parameters()).device, workers=workers)
    with lost_workers_named():
        return _right_answers(model, images, mean, std, batch_size).cpu()


def pixel_statistics(dataset: ImageSet | ImageFolderSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, for pixels scaled to [0, 1]: two tensors ``[C, 1, 1]``.

    A set in memory is measured as a whole; a set on disk takes the statistics usual for ImageNet.

    Example:
        >>> mean, std = pixel_statistics(eamlib.data.load("digits"))
        >>> mean.shape, round(mean[0].item(), 2), round(std[0].item(), 2)
        (torch.Size([3, 1, 1]), 0.31, 0.32)
    """
    if isinstance(dataset, ImageFolderSet):
        return torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    # Piece by piece: the images of a large set as integers of 64 bits would need eight times their own memory.
    counts = sum(
        torch.stack([torch.bincount(channel.flatten().int(), minlength=256) for channel in piece.transpose(0, 1)])
        for piece in dataset.images.split(10_000)
    )
    share = counts.double() / counts.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.double) / 255
    mean = share @ value
    std = (share @ value.square() - mean.square()).sqrt()
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 ``[B, C, H, W]`` to float, less the mean and divided by the standard deviation of the training set.

    Example:
        >>> digits = eamlib.data.load("digits")
        >>> images = normalize(digits.images, *pixel_statistics(digits))
        >>> images.dtype, round(abs(images.mean().item()), 3), round(images.std().item(), 3)
        (torch.float32, 0.0, 1.0)
    """
    return (images.float() / 255 - mean.to(images.device)) / std.to(images.device)


def _right_answers(
    model: nn.Module, images: InMemory | OnDisk, mean: Tensor, std: Tensor, batch_size: int | None = None
) -> Tensor:
    """Which of this process's share of all images the model knows: bool, on the images' device."""
    batches = torch.arange(len(images)).split(images.at_once if batch_size is None else batch_size)
    with evaluating(model):
        return torch.cat([model(normalize(x, mean, std)).argmax(1) == y for x, y in images.read(batches)])


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(model.parameters()), None)


def _share_buffers(model: nn.Module, average: nn.Module | None, place: Place) -> None:
    """Batch normalisation's statistics, and all other buffers: the first process's for all, and for the average."""
    place.share(model.buffers())
    if average is not None:
        for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)


def _bar(run: Run, images: int, recipe: Recipe, shown: bool) -> tqdm:
    from tqdm import tqdm

    done, steps_an_epoch = len(run.history), -(-images // recipe.batch_size)
    if shown and done:
        tqdm.write(f"{run.last}: {done} of {recipe.epochs} epochs are done.", file=sys.stderr)
    # Left unsaid where a bar is wanted, so that TQDM_DISABLE=1 can still hide it.
    hidden = {} if shown else {"disable": True}
    return tqdm(initial=done * steps_an_epoch, total=recipe.epochs * steps_an_epoch, unit="step", **hidden)
