"""The networks: one architecture per file, written once and made of the convolution that it is given."""

from eamlib.models import (  # noqa: F401  (importing registers them)
    dy_mobile,
    dy_resnet,
    dy_shuffle,
    fcn,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    shufflenet_v2,
)
from eamlib.models.registry import create_model, list_models, own_conv
from eamlib.models.torchvision_weights import load_torchvision

__all__ = ["create_model", "list_models", "load_torchvision", "own_conv"]
