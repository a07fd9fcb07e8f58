"""A plain training loop: images on the device, SGD, one line of history an epoch."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import positive_int, positive_number
from eamlib.data import ImageSet


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch. Call it before the network is made: its weights are drawn then."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for; without one, CUDA where there is one and else the CPU.

    Raises:
        ValueError: if torch knows no such device, or it asks for CUDA and there is none.
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


def fit(
    model: nn.Module,
    train: ImageSet,
    test: ImageSet,
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> list[dict]:
    """Train ``model`` in place and return its history.

    SGD with Nesterov momentum 0.9; the learning rate rises over the first tenth of the steps and falls to 0 along a
    cosine. Weight decay spares normalisation and biases. No augmentation.

    Args:
        model: ``[B, 3, H, W] -> [B, classes]``; it is moved to ``device``.
        train, test: image sets; both live on ``device`` as uint8 while this runs.
        epochs, batch_size, learning_rate, weight_decay, label_smoothing: of the optimisation.
        seed: of the order of the images. Seed the weights yourself, before the model is made.
        device: None takes CUDA where there is one.
        progress: show a bar (tqdm), one tick a step.

    Returns:
        One dict an epoch: ``epoch`` (from 1), ``loss`` (mean over the epoch), ``train_accuracy`` (while training),
        ``test_accuracy``, both in percent, and ``seconds`` (training and test).

    Raises:
        ValueError: if a number is out of its range or there is no such device.
        FloatingPointError: if the loss is no longer finite; the message says where.
    """
    from tqdm import tqdm

    positive_int("epochs", epochs)
    positive_int("batch_size", batch_size)
    positive_number("learning_rate", learning_rate)
    device = pick_device(device)
    model.to(device)
    images, labels = train.images.to(device), train.labels.to(device)
    mean, std = pixel_statistics(train)
    steps_an_epoch = -(-len(train) // batch_size)
    optimizer = torch.optim.SGD(_parameter_groups(model, weight_decay), lr=learning_rate, momentum=0.9, nesterov=True)
    # A cycle needs two steps at least; a single batch trains all the same.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=learning_rate,
        total_steps=max(2, epochs * steps_an_epoch),
        pct_start=0.1,
        cycle_momentum=False,
    )
    order = torch.Generator().manual_seed(seed)
    history = []
    # Left unsaid where a bar is wanted, so that TQDM_DISABLE=1 can still hide it.
    hidden = {} if progress else {"disable": True}
    bar = tqdm(total=epochs * steps_an_epoch, unit="step", **hidden)
    for epoch in range(1, epochs + 1):
        model.train()
        start, losses, correct = time.perf_counter(), 0.0, 0
        for batch in torch.randperm(len(train), generator=order).split(batch_size):
            batch = batch.to(device)
            where = f"in epoch {epoch}, at learning rate {schedule.get_last_lr()[0]:.3g}"
            advice = f"learning_rate = {learning_rate} is likely too high."
            try:
                logits = model(normalize(images[batch], mean, std))
            except FloatingPointError as error:  # a dynamic layer met NaN before the loss could
                raise FloatingPointError(f"{error} This was {where}; {advice}") from error
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=label_smoothing)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} {where}; {advice}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses += loss.item() * len(batch)
            correct += (logits.argmax(1) == labels[batch]).sum().item()
            bar.update()
        history.append(
            {
                "epoch": epoch,
                "loss": losses / len(train),
                "train_accuracy": 100 * correct / len(train),
                "test_accuracy": evaluate(model, test, mean=mean, std=std),
                "seconds": time.perf_counter() - start,
            }
        )
        bar.set_postfix(test=f"{history[-1]['test_accuracy']:.1f} %")
    bar.close()
    return history


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: ImageSet,
    *,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    batch_size: int = 512,
) -> float:
    """Top-1 accuracy in percent, in eval mode, on the model's own device.

    Args:
        mean, std: pixel statistics of the training set, from :func:`pixel_statistics`; None takes ``dataset``'s own.
    """
    if mean is None or std is None:
        mean, std = pixel_statistics(dataset)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    correct = 0
    for images, labels in zip(dataset.images.split(batch_size), dataset.labels.split(batch_size), strict=True):
        logits = model(normalize(images.to(device), mean, std))
        correct += (logits.argmax(1) == labels.to(device)).sum().item()
    model.train(was_training)
    return 100 * correct / len(dataset)


def pixel_statistics(dataset: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all images, scaled to [0, 1]: two tensors ``[3, 1, 1]``."""
    counts = torch.stack([torch.bincount(dataset.images[:, c].flatten().int(), minlength=256) for c in range(3)])
    share = counts.double() / counts.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.double) / 255
    mean = share @ value
    std = (share @ value.square() - mean.square()).sqrt()
    return mean.float().view(3, 1, 1), std.float().view(3, 1, 1)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 ``[B, 3, H, W]`` to float with the statistics of the training set taken out."""
    return (images.float() / 255 - mean.to(images.device)) / std.to(images.device)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Decay the weights of convolutions and linear layers alone; normalisation and biases have one dimension."""
    decayed = [p for name, p in model.named_parameters() if p.dim() > 1 and not name.endswith("bias")]
    spared = [p for name, p in model.named_parameters() if p.dim() <= 1 or name.endswith("bias")]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
