"""The networks, one architecture a file, each written once and made of the convolution it is given."""

from eamlib.models import mobilenet_v1, mobilenet_v2  # noqa: F401  (importing registers them)
from eamlib.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
