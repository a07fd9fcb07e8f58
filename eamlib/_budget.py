"""One switch for effort: ``EAMLIB_BUDGET=smoke|laptop|colab|full``."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from eamlib._checks import one_of


@dataclass(frozen=True)
class Budget:
    """How much a training cell may spend.

    Attributes:
        name: of the budget.
        dataset: what to train on, a name for :func:`eamlib.data.load`.
        epochs: passes over the training images.

    Example:
        >>> smoke = BUDGETS["smoke"]
        >>> smoke.dataset, smoke.epochs
        ('digits', 6)
    """

    name: str
    dataset: str
    epochs: int


BUDGETS = {
    "smoke": Budget("smoke", "digits", 6),  # seconds on a CPU: the book's build and the tests
    "laptop": Budget("laptop", "fashion_mnist", 5),  # minutes on a CPU
    "colab": Budget("colab", "fashion_mnist", 10),  # minutes on a T4
    "full": Budget("full", "fashion_mnist", 200),  # the schedule of the papers
}


def budget(name: str | None = None) -> Budget:
    """The budget called ``name``; without a name that of ``EAMLIB_BUDGET``, or colab with CUDA and smoke without.

    Raises:
        ValueError: if there is no such budget.

    Example:
        >>> budget("full").epochs
        200
        >>> budget("tiny")
        Traceback (most recent call last):
            ...
        ValueError: budget = 'tiny' is unknown. Allowed: smoke, laptop, colab, full.
    """
    if name is not None:
        return BUDGETS[one_of("budget", name, BUDGETS)]
    name = os.environ.get("EAMLIB_BUDGET") or ("colab" if torch.cuda.is_available() else "smoke")
    return BUDGETS[one_of("EAMLIB_BUDGET", name, BUDGETS)]


def announce() -> None:
    """Print which device and budget training takes here and, without a GPU, how Colab gives one.

    Example:
        >>> announce()
        Training takes ...
    """
    effort = f"at budget {budget().name}"
    if torch.cuda.is_available():
        print(f"Training takes the {torch.cuda.get_device_name()}, {effort}.")
    else:
        print(f"Training takes the CPU, since there is no GPU, {effort}. Every cell runs; what is trained is smaller.")
        print("For a GPU on Colab: Runtime → Change runtime type → T4 GPU, then Runtime → Run all.")
