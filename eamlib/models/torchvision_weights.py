"""torchvision's trained weights in the static networks of this library.

Both libraries register the same layers in the same order, under other names. So the two state dicts are laid side by
side and every pair has to agree: the last part of the name (weight, bias, running_mean …) and the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from torch import Tensor, nn

from eamlib._checks import one_of
from eamlib.models.registry import create_model

# torchvision's name: ours, and the width.
NETWORKS = {
    "mobilenet_v2": ("mobilenet_v2", 1.0),
    "mobilenet_v3_small": ("mobilenet_v3_small", 1.0),
    "mobilenet_v3_large": ("mobilenet_v3_large", 1.0),
    "shufflenet_v2_x0_5": ("shufflenet_v2", 0.5),
    "shufflenet_v2_x1_0": ("shufflenet_v2", 1.0),
    "shufflenet_v2_x1_5": ("shufflenet_v2", 1.5),
    "shufflenet_v2_x2_0": ("shufflenet_v2", 2.0),
    "resnet18": ("resnet18", 1.0),
    "resnet50": ("resnet50", 1.0),
    "fcn_resnet50": ("fcn_resnet50", 1.0),
}


def load_torchvision(model: nn.Module | str, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Give ``model`` the weights of the torchvision network of the same architecture, and return it.

    Args:
        model: a static network of this library; or torchvision's name of one, such as ``"shufflenet_v2_x0_5"``, which
            makes it, with as many classes as the weights have.
        state_dict: the torchvision network's own, in its own order (a file that sorts its tensors by name has lost
            it, and is refused). An auxiliary head of a segmentation network is left out.

    Raises:
        ValueError: if the name is unknown, or a tensor does not fit; the message says which and both shapes, and
            nothing has been written into ``model`` by then.

    Example:
        >>> import torchvision
        >>> theirs = torchvision.models.resnet18().eval()
        >>> ours = load_torchvision("resnet18", theirs.state_dict()).eval()
        >>> images = torch.randn(1, 3, 64, 64)
        >>> torch.allclose(ours(images), theirs(images), atol=1e-4)
        True
    """
    theirs = [(key, tensor) for key, tensor in state_dict.items() if not key.startswith("aux_classifier.")]
    if isinstance(model, str):
        name, width_mult = NETWORKS[one_of("model", model, NETWORKS)]
        num_classes = len(theirs[-1][1]) if theirs and theirs[-1][1].dim() else 1000
        model = create_model(name, num_classes=num_classes, width_mult=width_mult)
    fitted = {}
    for ours, other in zip_longest(model.state_dict().items(), theirs):
        _check_fit(ours, other)
        fitted[ours[0]] = other[1].reshape(ours[1].shape)
    model.load_state_dict(fitted)
    return model


def _check_fit(ours: tuple[str, Tensor] | None, theirs: tuple[str, Tensor] | None) -> None:
    if ours is None:
        raise ValueError(f"state_dict[{theirs[0]!r}] of shape {list(theirs[1].shape)} has no place in model.")
    wanted = f"model's {ours[0]!r} of shape {list(ours[1].shape)}"
    if theirs is None:
        raise ValueError(f"state_dict ends before the tensor for {wanted}.")
    same_kind = ours[0].rpartition(".")[2] == theirs[0].rpartition(".")[2]
    if not same_kind or _without_ones(ours[1]) != _without_ones(theirs[1]):
        raise ValueError(f"state_dict[{theirs[0]!r}] of shape {list(theirs[1].shape)} does not fit {wanted}.")


def _without_ones(tensor: Tensor) -> list[int]:
    """The shape without trailing ones: a 1 × 1 convolution on a pooled map is a linear layer."""
    shape = list(tensor.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return shape
