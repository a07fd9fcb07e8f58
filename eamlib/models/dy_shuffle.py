"""Dy-shuffle: ShuffleNetV2 in which a quarter of the channels is convolved, by DyNet convolutions.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694, section 3.3.
"""

from __future__ import annotations

from functools import partial

from eamlib.layers.convolution import ConvBuilder, static_conv
from eamlib.models.registry import register_model
from eamlib.models.shufflenet_v2 import ShuffleNetV2, ShuffleUnit

# With stride 1 three quarters of the channels are kept; with stride 2 both branches read all and make halves, as in
# ShuffleNetV2. How the paper builds stride 2 is not known to us. ShuffleNetV2 goes to O / 2 at once, which only the
# first unit notices: later ones have C = O / 2. Of the readings in eamlib.book.dy_shuffle, those that come near both
# printed cuts keep the width until the last 1 × 1, and this is the plainest of them: it rounds nothing.
narrow_unit = partial(ShuffleUnit, parts=4, widens_last=True, kept_conv=static_conv)
# Widths, stem, last convolution and classifier are ShuffleNetV2's, the last three static.
narrow_shuffle = partial(ShuffleNetV2, unit=narrow_unit, last_conv=static_conv)


@partial(register_model, conv="dynet")
def dy_shuffle(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """Dy-shuffle, of width 0.5, 1.0, 1.5 or 2.0; made of DyNet convolutions unless another ``conv`` is named.
    Small images as in ShuffleNetV2.

    Example:
        >>> counted = eamlib.cost(eamlib.create_model("dy_shuffle")).multiply_adds
        >>> saved = 1 - sum(counted.values()) / 146e6  # of the 146 M that ShuffleNetV2's paper prints
        >>> f"{saved:.1%}"  # the paper prints 37.0 %
        '37.2%'
    """
    return narrow_shuffle(conv, num_classes, width_mult, stem_stride)


@register_model
def fix_shuffle(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """The ablation's Fix-shuffle: the same narrow network, with static kernels unless another ``conv`` is named.

    Example:
        >>> static = eamlib.cost(eamlib.create_model("fix_shuffle")).multiply_adds
        >>> static["convolution"] == eamlib.cost(eamlib.create_model("dy_shuffle")).multiply_adds["convolution"]
        True
        >>> static["attention"]  # nothing predicts a coefficient
        0
    """
    return narrow_shuffle(conv, num_classes, width_mult, stem_stride)
