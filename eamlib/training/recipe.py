"""A recipe: what a training does, and so what its result depends on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eamlib._checks import number_between, one_of, positive_int, positive_number, temperature_of

TEMPERATURE_FALLS = 0.1  # the share of all steps that it takes
SCHEDULES = ("cosine", "constant")
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum and a learning rate that rises and then falls.

    Weight decay spares normalisation and biases. Steps are counted from 0.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step, over all devices and parts.
        learning_rate: its maximum.
        schedule: after the rise, ``"cosine"`` falls to nearly 0 and ``"constant"`` stays at the maximum.
        warm_up: the share of all steps over which the learning rate rises, 0 to 1; 0 begins with the maximum.
        momentum: 0 to 1; 0 is plain SGD.
        weight_decay: for the weights of convolutions and linear layers.
        label_smoothing: the share of a label that is spread over all classes, 0 to 1.
        seed: for the order of the images and the augmentation. Seed the weights yourself, before the model is made.
        augment: ``augment(images, generator=generator)``, uint8 ``[B, 3, H, W]`` to the same, on any device, with all
            its randomness from ``generator``, which is on the CPU.
        temperature: of the kernel attentions at the start; it falls linearly to 1 over the first tenth of the steps.
            Chen et al. start at 30. None leaves it alone.
        ema: the share of the weights' average that stays at each step. The average is what is tested, and what the
            model holds in the end; batch normalisation's statistics are the last step's. None keeps no average.
        precision: ``"float32"``, or ``"bf16"`` or ``"fp16"`` for mixed precision.
        accumulate: run a batch in this many parts, one after another, which takes less memory. The gradient is the
            same, but batch normalisation sees one part at a time.

    Raises:
        ValueError: if a value is out of its range.

    Sources: Goyal et al. 2017, https://arxiv.org/abs/1706.02677 (warm-up, no decay of normalisation); Loshchilov &
    Hutter 2017, https://arxiv.org/abs/1608.03983 (cosine); Szegedy et al. 2016, https://arxiv.org/abs/1512.00567 (label
    smoothing); Chen et al. 2020, https://arxiv.org/abs/1912.03458, section 3.2 (temperature).

    Example:
        >>> recipe = Recipe(epochs=10, temperature=30)
        >>> [round(recipe.temperature_at(step, 100)) for step in (0, 5, 10, 99)]
        [30, 16, 1, 1]
        >>> recipe.learning_rate_at(9, 100)  # the maximum, after a tenth of the steps
        0.1
        >>> recipe.learning_rate_at(99, 100) < 1e-6
        True
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.1
    schedule: str = "cosine"
    warm_up: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    seed: int = 0
    augment: Callable[..., Tensor] | None = None
    temperature: float | None = None
    ema: float | None = None
    precision: str = "float32"
    accumulate: int = 1

    def __post_init__(self):
        positive_int("epochs", self.epochs)
        positive_int("batch_size", self.batch_size)
        positive_number("learning_rate", self.learning_rate)
        one_of("schedule", self.schedule, SCHEDULES)
        number_between("warm_up", self.warm_up, 0, 1)
        number_between("momentum", self.momentum, 0, 1)
        number_between("weight_decay", self.weight_decay, 0, math.inf)
        number_between("label_smoothing", self.label_smoothing, 0, 1)
        if self.augment is not None and not callable(self.augment):
            raise ValueError(f"augment = {self.augment!r} must be a function of images and a generator, or None.")
        if self.temperature is not None:
            temperature_of(self.temperature)
        if self.ema is not None:
            number_between("ema", self.ema, 0, 1)
        one_of("precision", self.precision, PRECISIONS)
        if positive_int("accumulate", self.accumulate) > self.batch_size:
            raise ValueError(f"accumulate = {self.accumulate} must not exceed batch_size = {self.batch_size}.")

    def optimizer(self, model: nn.Module) -> torch.optim.SGD:
        """SGD over the parameters of ``model``; one-dimensional parameters and biases do not decay."""
        decayed, spared = [], []
        for name, parameter in model.named_parameters():
            (spared if parameter.dim() <= 1 or name.endswith("bias") else decayed).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": spared, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=self.momentum > 0)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """From 1/25 of the maximum up to it, then down to 1/250,000 of it, each along half a cosine. A constant
        schedule stays at the maximum."""
        steps = max(2, steps)  # up and down take two at least
        top = self.warm_up * steps - 1
        if 0 < top >= step:
            start, end, way = self.learning_rate / 25, self.learning_rate, step / top
        elif self.schedule == "constant":
            return self.learning_rate
        else:
            start, end, way = self.learning_rate, self.learning_rate / 25 / 1e4, (step - top) / (steps - 1 - top)
        return end + (start - end) / 2 * (1 + math.cos(math.pi * way))

    def temperature_at(self, step: int, steps: int) -> float | None:
        """From ``temperature`` linearly to 1; None if there is none."""
        if self.temperature is None:
            return None
        return 1 + (self.temperature - 1) * max(0.0, 1 - step / (TEMPERATURE_FALLS * steps))

    def ema_at(self, step: int) -> float:
        """``ema``, but less during the first steps, or the average would remember the random start for long."""
        return min(self.ema, (1 + step) / (10 + step))
