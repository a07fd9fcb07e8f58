"""A training loop to read from top to bottom: batches on the device, SGD, and after every epoch a checkpoint."""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eamlib._checks import positive_int
from eamlib._extras import need
from eamlib.analysis._unchanged import same_modules, same_random_numbers
from eamlib.analysis.watch import evaluating
from eamlib.data.imagenet import MEAN, STD, ImageFolderSet
from eamlib.data.sets import ImageSet
from eamlib.layers import set_temperature
from eamlib.training.batches import InMemory, OnDisk, check_set, feed, lost_workers_named, parts
from eamlib.training.recipe import Recipe
from eamlib.training.run import Run, described

if TYPE_CHECKING:
    from accelerate import Accelerator
    from tqdm import tqdm


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch. Call it before the network is made: its weights are drawn then.

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
    """The device asked for; without one, CUDA where there is one and else the CPU.

    Raises:
        ValueError: if torch knows no such device, or it asks for CUDA and there is none.

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

    Under ``torchrun`` or ``accelerate launch`` the same call trains on several devices: every process takes its share
    of each batch, and together they take one process's steps. Batch normalisation alone sees its own share, and its
    running statistics are the first process's.

    With a ``folder`` nothing is lost: killed at any moment, the same call goes on after the last finished epoch, on
    the CPU to the very bits of a run that was left alone.

    Args:
        model: ``[B, C, H, W] -> [B, classes]``; it is moved to ``device``. Of a model in train mode, parts in eval mode
            stay in it: batch normalisation with frozen statistics, say. One in eval mode is trained as a whole.
        train, test: image sets. Those in memory live on the device as uint8 while this runs; of those on disk each
            process decodes its share, and the training images are cropped and mirrored at random.
        device: None takes CUDA where there is one. A launcher of several processes gives each its own.
        compile: run the network through ``torch.compile``.
        channels_last: keep images and weights with the channels innermost.
        workers: of sets on disk: processes that decode, beside each that trains; 0 leaves it to the latter, None takes
            one a core, 16 at most. The result does not depend on it.
        folder: for a checkpoint an epoch, of which the last two stay, and for ``history.jsonl``. It is this run's alone
            while it trains. ``eamlib.training.checkpoint.latest(folder).weights["weights"]`` are the last weights; with
            ``ema`` there is ``["average"]``, too. None keeps nothing.
        tensorboard: folder for TensorBoard's curves.
        progress: show a bar (tqdm), one tick a step, and say where a run is resumed.
        after_epoch: called after every epoch with its line of the history, when it is kept: to look at ``model`` on the
            way. It should leave the weights and the random numbers as they are.
        recipe: what the result depends on, by the names of :class:`eamlib.training.recipe.Recipe`: ``epochs``, which is
            required, ``batch_size``, ``learning_rate``, ``schedule``, ``warm_up``, ``momentum``, ``weight_decay``,
            ``label_smoothing``, ``seed``, ``augment``, ``temperature``, ``ema``, ``precision``, ``accumulate``.

    Returns:
        One dict an epoch with ``epoch`` (from 1), ``loss`` (mean over the epoch), ``train_accuracy`` (while training),
        ``test_accuracy``, both in percent, and ``seconds`` (training and test).

    Raises:
        ValueError: if a value is out of its range, there is no such device, a set is none of this library's, the model
            has no temperature or nothing in it requires a gradient, batch normalisation would meet a single value in
            the last batch, ``augment`` is given for a set on disk or ``workers`` for one in memory, or ``folder``
            belongs to a run of another configuration; later, with its path, if an image on disk is truncated or none.
        ModuleNotFoundError: if accelerate, tqdm or a wanted TensorBoard is missing; the message says how to install it.
        eamlib.training.lock.Busy: if another run is at work in ``folder``, with its name; or if ``folder`` was removed.
        FloatingPointError: if the loss or the weights are no longer finite; the message has step and learning rate.
            No checkpoint holds such weights.
        KeyboardInterrupt: on Ctrl-C; the message says what is kept.
        OSError: if an epoch cannot be kept, because the disk is full, say; earlier checkpoints are as they were. A
            ``ChildProcessError`` if a process that decodes was killed, for want of memory, say, or lacks shared memory.

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
    need("train", "accelerate", "tqdm")
    recipe = Recipe(**recipe)
    device = pick_device(device)
    check_set("train", train)
    check_set("test", test)
    if recipe.temperature is not None:
        set_temperature(model, recipe.temperature)
    frozen = _frozen(model)
    configuration = described(vars(recipe) | {"model": model, "train": train, "test": test})

    with _accelerator(device, recipe) as accelerator, ExitStack() as opened:
        device = device if accelerator.num_processes == 1 else accelerator.device
        layout = torch.channels_last if channels_last else torch.preserve_format
        model.to(device, memory_format=layout)
        average = None if recipe.ema is None else copy.deepcopy(model).requires_grad_(False)
        mean, std = (statistic.to(device) for statistic in pixel_statistics(train))
        place = {"device": device, "process": accelerator.process_index, "processes": accelerator.num_processes}
        images_of_train = feed(train, augment=recipe.augment, workers=workers, **place)
        images_of_test = feed(test, workers=workers, **place)
        _check_trainable(model, frozen, images_of_train, recipe, accelerator.num_processes)
        # Accelerate changes the forward of what it is given: a shell of one layer keeps the model as it is.
        network = nn.Sequential(torch.compile(model) if compile else model)
        network, optimizer = accelerator.prepare(network, recipe.optimizer(model))
        # On the CPU, so that every device and every process draws the same.
        order, draws = (torch.Generator().manual_seed(seed) for seed in (recipe.seed, recipe.seed + 1))
        run = Run(
            folder=None if folder is None else Path(folder),
            tensorboard=tensorboard,
            configuration=configuration,
            modules={"weights": model, "average": average},
            states={"optimizer": optimizer, "scaler": accelerator.scaler},
            generators={"order": order, "augment": draws},
            writes=accelerator.is_main_process,
        )
        opened.enter_context(closing(run))
        run.resume()
        opened.enter_context(lost_workers_named(run.kept))

        steps_an_epoch = -(-len(train) // recipe.batch_size)
        steps = recipe.epochs * steps_an_epoch
        look_every = 50 if device.type == "cuda" else 1  # a look at a number makes the CPU wait for the GPU
        bar = _bar(run, steps_an_epoch, recipe.epochs, shown=progress and accelerator.is_main_process)
        try:
            for epoch in range(len(run.history) + 1, recipe.epochs + 1):
                start, first = time.perf_counter(), (epoch - 1) * steps_an_epoch
                _train_mode(model, frozen)
                losses, correct = torch.zeros(steps_an_epoch, device=device), 0
                batches = torch.randperm(len(train), generator=order).split(recipe.batch_size)
                for i, (images, labels) in enumerate(images_of_train.read(batches, draws)):
                    step = first + i
                    for group in optimizer.param_groups:
                        group["lr"] = recipe.learning_rate_at(step, steps)
                    if recipe.temperature is not None:
                        set_temperature(model, recipe.temperature_at(step, steps))
                    images = normalize(images, mean, std).to(memory_format=layout)
                    losses[i], hits = _step(network, optimizer, images, labels, len(batches[i]), recipe, accelerator)
                    correct += hits
                    if average is not None:
                        _follow(average, model, recipe.ema_at(step))
                    if (i + 1) % look_every == 0 or i + 1 == len(batches):
                        unseen = slice(i - i % look_every, i + 1)
                        losses[unseen] = accelerator.reduce(losses[unseen], "sum")
                        if len(bad := (~losses.isfinite()).nonzero()):
                            step = first + int(bad[0])
                            raise FloatingPointError(f"it is {losses[bad[0]].item()}.")
                    bar.update()
                if not all(parameter.isfinite().all() for parameter in model.parameters()):
                    raise FloatingPointError("the step left weights that are not finite.")
                _share_statistics(model, average)
                tested = _right_answers(model if average is None else average, images_of_test, mean, std).sum()
                line = {
                    "epoch": epoch,
                    "loss": sum(a * len(b) for a, b in zip(losses.tolist(), batches, strict=True)) / len(train),
                    "train_accuracy": 100 * int(accelerator.reduce(correct, "sum")) / len(train),
                    "test_accuracy": 100 * int(accelerator.reduce(tested, "sum")) / len(test),
                    "seconds": time.perf_counter() - start,
                }
                run.record(line)
                if after_epoch is not None:
                    after_epoch(line)
                bar.set_postfix(test=f"{line['test_accuracy']:.1f} %")
        except FloatingPointError as error:
            raise FloatingPointError(
                f"the loss is no longer finite in epoch {epoch}, at step {step + 1} of {steps} and learning rate "
                f"{recipe.learning_rate_at(step, steps):.3g}: {error} learning_rate = {recipe.learning_rate} is likely "
                f"too high.{f' The last good state is {run.last}.' if run.last else ''}"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped by Ctrl-C; {run.kept()}") from None
        finally:
            bar.close()
        if average is not None:
            model.load_state_dict(average.state_dict())
        return run.history


def _frozen(model: nn.Module) -> list[nn.Module]:
    """The parts that stay in eval mode: of a model in train mode, those that are not."""
    return [module for module in model.modules() if not module.training] if model.training else []


def _train_mode(model: nn.Module, frozen: list[nn.Module]) -> None:
    model.train()
    for module in frozen:
        module.eval()


def _check_trainable(
    model: nn.Module, frozen: list[nn.Module], train: InMemory | OnDisk, recipe: Recipe, processes: int
) -> None:
    """Raise a ``ValueError`` for what would do nothing, or fail in the last batch of an epoch."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model = {type(model).__name__} has no parameter that requires a gradient: all are frozen.")
    last = len(train) % recipe.batch_size or recipe.batch_size
    if last >= 2 * recipe.accumulate * processes:
        return
    met = []
    with lost_workers_named():
        images, _ = next(train.read([torch.zeros(1, dtype=torch.long)]))
    # The one error that it is to find is batch normalisation's own.
    with same_modules(model), same_random_numbers(), torch.no_grad(), suppress(ValueError):
        _train_mode(model, frozen)
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:

                def look(_, inputs, name=name):
                    if inputs[0].numel() == inputs[0].shape[1]:
                        met.append(name)

                module.register_forward_pre_hook(look)
        model(images.float())
    if met:
        raise ValueError(
            f"batch_size = {recipe.batch_size} leaves a last batch of {last} of {len(train)} images, in which batch "
            f"normalisation {met[0]!r} meets a single value per channel and has no variance. Allowed is another "
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
        batch_size: images run at once; None takes 512, of a set on disk 128.
        workers: of a set on disk, as in :func:`fit`.

    Raises:
        ValueError: if a value is out of its range; with its path, if an image on disk is truncated or none.
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
    """Which images a network knows: bool, ``[N]``, on the CPU, in the order of the set.

    Args and errors are those of :func:`evaluate`, which counts them.

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
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]: two tensors ``[C, 1, 1]``.

    Of a set in memory over all its images; of one on disk those usual for ImageNet.

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
    """uint8 ``[B, C, H, W]`` to float with the statistics of the training set taken out.

    Example:
        >>> digits = eamlib.data.load("digits")
        >>> images = normalize(digits.images, *pixel_statistics(digits))
        >>> images.dtype, round(abs(images.mean().item()), 3), round(images.std().item(), 3)
        (torch.float32, 0.0, 1.0)
    """
    return (images.float() / 255 - mean.to(images.device)) / std.to(images.device)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    recipe: Recipe,
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor]:
    """One step on this process's part of a batch; its share of the batch's mean loss and of the right answers."""
    share, hits = 0, 0
    for x, y in parts(images, labels, recipe.accumulate):
        with accelerator.accumulate(network):
            logits = network(x)
            loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing, reduction="sum") / batch_size
            # Accelerate takes the mean over parts and processes where the batch's gradient is their sum.
            accelerator.backward(loss * recipe.accumulate * accelerator.num_processes)
            optimizer.step()
            optimizer.zero_grad()
        share = share + loss.detach()
        hits = hits + (logits.argmax(1) == y).sum()
    return share, hits


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


def _share_statistics(model: nn.Module, average: nn.Module | None) -> None:
    """Batch normalisation's statistics, and all other buffers: the first process's for all, and for the average."""
    from accelerate.utils import broadcast

    broadcast(list(model.buffers()))
    if average is not None:
        for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)


@contextmanager
def _accelerator(device: torch.device, recipe: Recipe) -> Iterator[Accelerator]:
    """Accelerate keeps one state in a Python process, which would hold the next run to this one's precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, is_initialized
    from accelerate.utils import GradientAccumulationPlugin

    check_precision(recipe.precision, device)
    somebody_elses = is_initialized()
    try:
        yield Accelerator(
            cpu=device.type == "cpu",
            device_placement=False,  # the caller's word counts: cuda:1, say
            mixed_precision="no" if recipe.precision == "float32" else recipe.precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(recipe.accumulate, sync_with_dataloader=False),
        )
    finally:
        if not somebody_elses:
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()


def _bar(run: Run, steps_an_epoch: int, epochs: int, shown: bool) -> tqdm:
    from tqdm import tqdm

    done = len(run.history)
    if shown and done:
        tqdm.write(f"{run.last}: {done} of {epochs} epochs are done.", file=sys.stderr)
    # Left unsaid where a bar is wanted, so that TQDM_DISABLE=1 can still hide it.
    hidden = {} if shown else {"disable": True}
    return tqdm(initial=done * steps_an_epoch, total=epochs * steps_an_epoch, unit="step", **hidden)
