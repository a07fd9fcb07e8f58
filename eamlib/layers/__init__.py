"""The bricks: convolutions, channel selections, attentions, and the dynamic convolution made of them."""

from eamlib.layers.attention import EAMAttention, KernelAttention, SqueezeExcitation, UniformAttention, set_temperature
from eamlib.layers.convolution import ClassifierHead, ConvNormAct, DepthwiseSeparable, Residual
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.dynet import BlockPredictor, Chain, CoefficientPredictor, DyNetConv2d, run_chains, share_predictor
from eamlib.layers.selection import (
    SELECTIONS,
    ChannelGroups,
    ChannelQuarter,
    EveryNthChannel,
    RandomChannels,
    channel_selection,
)
from eamlib.layers.spec import CONVS, conv_builder

__all__ = [
    "CONVS",
    "SELECTIONS",
    "BlockPredictor",
    "Chain",
    "ChannelGroups",
    "ChannelQuarter",
    "ClassifierHead",
    "CoefficientPredictor",
    "ConvNormAct",
    "DepthwiseSeparable",
    "DyNetConv2d",
    "DynamicConv2d",
    "EAMAttention",
    "EveryNthChannel",
    "KernelAttention",
    "RandomChannels",
    "Residual",
    "SqueezeExcitation",
    "UniformAttention",
    "channel_selection",
    "conv_builder",
    "run_chains",
    "set_temperature",
    "share_predictor",
]
