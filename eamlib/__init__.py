"""Dynamic convolution, DyNet and EAM: a small, tested library under a book that explains them.

``import eamlib`` needs PyTorch alone. Data (torchvision, scikit-learn), plots and exercises import what they need where
they are used; packages such as ``eamlib.data`` load when they are first touched.
"""

import importlib

from eamlib import functional, layers
from eamlib._budget import BUDGETS, Budget, announce, budget
from eamlib.analysis.convert import convert
from eamlib.analysis.cost import Cost, cost
from eamlib.analysis.diagnose import CollapseWarning, LayerAttention, diagnose
from eamlib.analysis.fold import fold_batch_norm
from eamlib.analysis.freeze import Frozen, freeze
from eamlib.models import create_model, list_models

__version__ = "0.1.0"

# What is imported when it is first touched, and from where.
_ROOMS = ("bench", "data", "papers", "plots", "redundancy", "training")
_ON_TOUCH = {name: f"eamlib.{name}" for name in _ROOMS} | {
    "exchange": "eamlib.training.exchanged",
    "exercises": "eamlib.book.exercises",
    "explore": "eamlib.book.explore",
    "records": "eamlib.papers.records",
}


def __getattr__(name: str):
    if name in _ON_TOUCH:
        return importlib.import_module(_ON_TOUCH[name])
    raise AttributeError(f"module 'eamlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_TOUCH})


__all__ = [
    "BUDGETS",
    "Budget",
    "CollapseWarning",
    "Cost",
    "Frozen",
    "LayerAttention",
    "announce",
    "budget",
    "convert",
    "cost",
    "create_model",
    "diagnose",
    "fold_batch_norm",
    "freeze",
    "functional",
    "layers",
    "list_models",
]
