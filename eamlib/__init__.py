"""Dynamic convolution, DyNet and EAM: a small, tested library under a book that explains them.

``import eamlib`` needs PyTorch alone. Counting FLOPs (fvcore), data (torchvision, scikit-learn), plots and
exercises import what they need where they are used.
"""

from eamlib import functional, layers
from eamlib.budget import BUDGETS, Budget, announce, budget
from eamlib.convert import convert
from eamlib.cost import Cost, cost
from eamlib.diagnostics import CollapseWarning, LayerAttention, diagnose
from eamlib.fold import fold_batch_norm
from eamlib.freeze import Frozen, freeze
from eamlib.models import create_model, list_models

__version__ = "0.1.0"

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
