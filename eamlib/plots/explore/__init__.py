"""Explorers: pictures that answer to a slider, under a kernel and, without one, on a static page.

:func:`channels` shows which channels repeat each other, :func:`eam` what EAM reads and what its attention can make of
it, :func:`cost` what a convolution costs. Each returns an :class:`Explorer`, which shows itself.
"""

from eamlib.plots.explore.channels import channels
from eamlib.plots.explore.cost import cost
from eamlib.plots.explore.eam import eam
from eamlib.plots.explore.fragment import Choice, Explorer, Number

__all__ = ["Choice", "Explorer", "Number", "channels", "cost", "eam"]
