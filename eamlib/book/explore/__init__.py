"""Explorers: pictures that answer to a slider, under a kernel and, without one, on a static page.

:func:`channels` shows which channels repeat each other, :func:`eam` what EAM reads and what its attention can make of
it, :func:`cost` what a convolution costs. Each returns an :class:`Explorer`, which shows itself.
"""

from eamlib.book.explore.channels import channels
from eamlib.book.explore.cost import cost
from eamlib.book.explore.eam import eam
from eamlib.book.explore.fragment import Choice, Explorer, Number

__all__ = ["Choice", "Explorer", "Number", "channels", "cost", "eam"]
