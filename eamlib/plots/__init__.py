"""The book's look, and the plots that more than one chapter draws. matplotlib and seaborn, colour-blind safe."""

from eamlib.plots.attention import attention_by_class, attention_over_training, premise_by_depth, readings
from eamlib.plots.contrasts import forest, verdict_grid
from eamlib.plots.curves import accuracy_curves
from eamlib.plots.lineage import lineage, lineage_steps
from eamlib.plots.look import style
from eamlib.plots.redundancy import against_depth, correlation_map, gallery, strength_bars

__all__ = [
    "accuracy_curves",
    "against_depth",
    "attention_by_class",
    "attention_over_training",
    "correlation_map",
    "forest",
    "gallery",
    "lineage",
    "lineage_steps",
    "premise_by_depth",
    "readings",
    "strength_bars",
    "style",
    "verdict_grid",
]
