"""The book's look, and the pictures that several chapters draw: matplotlib and seaborn, colour-blind safe."""

from eamlib.plots.attention import attention_by_class, attention_over_training
from eamlib.plots.channels import correlation_map, strength_bars
from eamlib.plots.curves import accuracy_curves, against_depth, premise_by_depth
from eamlib.plots.look import style
from eamlib.plots.maps import gallery, readings

__all__ = [
    "accuracy_curves",
    "against_depth",
    "attention_by_class",
    "attention_over_training",
    "correlation_map",
    "gallery",
    "premise_by_depth",
    "readings",
    "strength_bars",
    "style",
]
