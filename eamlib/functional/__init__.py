"""The dynamic convolution as a function, and the one place that knows how it is run.

``ways`` holds the seven ways, ``roofline`` predicts the fastest, ``tiled`` is the C kernel and ``compiled`` builds it.
"""

from eamlib.functional.ways import STRATEGIES, dynamic_conv2d, fastest, per_sample_conv2d

__all__ = ["STRATEGIES", "dynamic_conv2d", "fastest", "per_sample_conv2d"]
