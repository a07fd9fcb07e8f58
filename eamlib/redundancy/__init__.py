"""How much the channels of a network repeat each other, and what can be read from a few of them.

:class:`ChannelStatistics` is the measure, :func:`measure` and :func:`kernels` take it of a network's maps and of its
weights, :func:`held_out_r2` asks how well the others predict a channel of images not seen, :func:`without` removes
channels, :func:`premise` asks what a few channels tell of all the others, and :func:`imitate` whether that is enough to
answer as an attention does.
"""

from eamlib.redundancy.held_out import held_out_r2, merged
from eamlib.redundancy.imitation import Imitation, imitate
from eamlib.redundancy.measure import kernels, measure
from eamlib.redundancy.premise import Premise, Reading, premise
from eamlib.redundancy.removal import removal_order, without
from eamlib.redundancy.statistics import EDGES, STRENGTHS, ChannelStatistics, Duplicate

__all__ = [
    "EDGES",
    "STRENGTHS",
    "ChannelStatistics",
    "Duplicate",
    "Imitation",
    "Premise",
    "Reading",
    "held_out_r2",
    "imitate",
    "kernels",
    "measure",
    "merged",
    "premise",
    "removal_order",
    "without",
]
