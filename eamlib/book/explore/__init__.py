"""Explorers: pictures that answer to a slider, live under a kernel and without one on a static page.

:func:`channels` shows which channels repeat each other, :func:`eam` what EAM reads and what its attention can make of
it, :func:`cost` what a convolution costs. Each returns an :class:`Explorer`, which shows itself.
"""

from eamlib.book.explore.controls import Choice, Number
from eamlib.book.explore.duplicates import channels
from eamlib.book.explore.explorer import Explorer
from eamlib.book.explore.formulas import cost
from eamlib.book.explore.readings import eam

__all__ = ["Choice", "Explorer", "Number", "channels", "cost", "eam"]
