"""The dynamic convolution as a function, and the one place that knows how it is run.

Its seven strategies are four ideas. ``"grouped"`` and ``"bmm"`` mix the kernels, ``"fuse"`` mixes the outputs, and
``"concat"`` scales the inputs. ``"chunked"`` is ``"grouped"`` in pieces of the batch, ``"tiled"`` is ``"bmm"`` in C,
and ``"loop"`` is what the tests hold all of them against. ``ways`` holds them, ``roofline`` predicts the fastest,
``tiled`` calls the C and ``compiled`` builds it.
"""

from eamlib.functional.ways import STRATEGIES, dynamic_conv2d, fastest, per_sample_conv2d

__all__ = ["STRATEGIES", "dynamic_conv2d", "fastest", "per_sample_conv2d"]
