"""Batch normalisation folded into the convolution before it, which can do the work of both in eval mode."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from eamlib._checks import no_hooks, some_images
from eamlib.analysis._copied import copied
from eamlib.analysis.mixtures import watch_mixtures
from eamlib.analysis.watch import evaluating, predictions, watch
from eamlib.layers.dynamic import DynamicConv2d

# Neither by isinstance: a subclass may do more, as a weight-standardised convolution does.
_CONVOLUTIONS = (nn.Conv2d, DynamicConv2d)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def fold_batch_norm(model: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of ``model`` whose batch norms are folded into the convolutions before them.

    In eval mode the copy answers as ``model`` does, up to rounding; in training mode it no longer normalises. A batch
    norm that maps channel o to s_o y_o + t_o becomes an ``nn.Identity``, and timm's ``BatchNormAct2d`` its activation;
    the kernels before it are scaled by s_o, and t_o goes into each of their biases, whose mixture it is where the
    attention sums to one. Do not call ``torch.nn.utils.fuse_conv_bn_eval`` on a dynamic layer: it scales along K, not
    along O, and where K = O it answers wrong silently.

    One run over ``images`` shows which convolution a norm follows. A norm stays where it is if

    - anything but the norm reads, keeps or returns the output of the convolution;
    - in another call the convolution is followed by another norm, or the norm follows something else;
    - parameters of either are used elsewhere;
    - the attention of the dynamic layer does not sum to one;
    - either is of another class: the convolution than ``nn.Conv2d`` and ``DynamicConv2d``, the norm than
      ``nn.BatchNorm2d``, ``nn.SyncBatchNorm`` and ``BatchNormAct2d``. A :class:`eamlib.layers.DyNetConv2d`, whose
      coefficients do not sum to one, has to be frozen first.

    Args:
        model: it runs in eval mode, once, and is left as it is. Each module of the copy has the mode that it has here.
        images: ``[B, C, H, W]``, one or a few as the model takes them. Of a model whose path depends on the images
            only the path that these take is seen.

    Raises:
        ValueError: if no norm can be folded (the message says why), or a layer or norm to fold carries hooks.

    Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2, of static convolutions.

    Example:
        >>> model = eamlib.create_model("mobilenet_v1", "eam-rcr", width_mult=0.25, num_classes=10).eval()
        >>> images = torch.randn(2, 3, 32, 32)
        >>> folded = fold_batch_norm(model, images)
        >>> sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        0
        >>> torch.allclose(folded(images), model(images), atol=1e-5)
        True
    """
    some_images("images", images)
    modules = dict(model.named_modules())
    norms = {name: module for name, module in modules.items() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    convolutions = {name: module for name, module in modules.items() if type(module) in _CONVOLUTIONS}
    run = _Run(model, convolutions, norms, images)
    pairs = {name: run.convolution_of(name) for name in norms if not run.why_not(name)}
    if not pairs:
        reasons = "; ".join(f"{name!r} {run.why_not(name)}" for name in list(norms)[:5])
        raise ValueError(
            f"model = {type(model).__name__} has no batch norm to fold{': ' if norms else ''}{reasons}"
            f"{'; …' if len(norms) > 5 else ''}."
        )
    for name in (*pairs, *pairs.values()):
        no_hooks(name, modules[name])
    folded = copied(model, {norms[name]: _without_norm(norms[name]) for name in pairs})
    for norm, convolution in pairs.items():
        _fold(folded.get_submodule(convolution), norms[norm])
    return folded


class _Run(TorchDispatchMode):
    """One run of a network, and who read the outputs and parameters of its convolutions and norms meanwhile."""

    def __init__(self, model: nn.Module, convolutions: dict, norms: dict, images: Tensor):
        super().__init__()
        self.convolutions, self.norms = convolutions, norms
        self.running: list[str] = []
        self.outputs = WeakTensorKeyDictionary()  # of convolutions; one that outlives the run is kept by somebody
        self.readers: dict[str, set[str | None]] = {name: set() for name in convolutions}
        self.inputs: dict[str, set[str | None]] = {name: set() for name in norms}
        self.owners = WeakTensorKeyDictionary()
        self.read_elsewhere: set[str] = set()
        layers = convolutions | norms
        for name, layer in layers.items():
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                self.owners[tensor] = name
        dynamic = {name: layer for name, layer in convolutions.items() if isinstance(layer, DynamicConv2d)}
        with (
            evaluating(model),
            watch_mixtures(model, dynamic) as mixtures,
            watch(layers, self._enter, before=True),
            watch(layers, self._leave),
            self,
        ):
            [(_, _, output)] = predictions(model, [images])
        self.kept = set(self.outputs.values())
        del output  # here and no sooner: what the model returns is kept
        self.unmixed = {
            name
            for name, calls in mixtures.items()
            for rows in calls
            if not _sum_to_one(rows, dynamic[name].weight.dtype)
        }

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        reader = self.running[-1] if self.running else None
        for tensor in tree_leaves((args, kwargs)):
            if not isinstance(tensor, Tensor):
                continue
            if (convolution := self.outputs.get(tensor)) is not None:
                self.readers[convolution].add(reader)
            if (owner := self.owners.get(tensor, reader)) != reader:
                self.read_elsewhere.add(owner)
        return function(*args, **(kwargs or {}))

    def _enter(self, name: str, inputs: tuple, output: None) -> None:
        if name in self.norms:
            self.inputs[name].add(self.outputs.get(inputs[0]))
        self.running.append(name)

    def _leave(self, name: str, inputs: tuple, output: Tensor) -> None:
        self.running.pop()
        if name in self.convolutions:
            self.outputs[output] = name

    def convolution_of(self, norm: str) -> str:
        [convolution] = self.inputs[norm]
        return convolution

    def why_not(self, norm: str) -> str | None:
        """Why a norm cannot be folded; None if it can."""
        module, before = self.norms[norm], self.inputs[norm]
        if type(module) not in _NORMS and not _activates(module):
            return f"is a {type(module).__name__}"
        if module.running_mean is None:
            return "keeps no running statistics"
        if not before:
            return "does not run"
        if None in before or len(before) > 1:
            return "does not follow one convolution"
        convolution = self.convolution_of(norm)
        if self.readers[convolution] != {norm} or convolution in self.kept:
            return f"is not alone to use what {convolution!r} answers"
        if {norm, convolution} & self.read_elsewhere:
            return f"or {convolution!r} has parameters that are used elsewhere"
        if convolution in self.unmixed:
            return f"follows {convolution!r}, whose attention does not sum to one"
        return None


def _sum_to_one(attention: Tensor, dtype: torch.dtype) -> bool:
    """Up to the rounding of its numbers, which had ``dtype``."""
    return bool(((attention.sum(1) - 1).abs() < 8 * torch.finfo(dtype).eps).all())


def _activates(norm: nn.Module) -> bool:
    """Whether it is timm's batch norm with an activation; told by its name, for timm need not be there."""
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _without_norm(norm: nn.Module) -> nn.Module:
    if _activates(norm):
        return copy.deepcopy(nn.Sequential(norm.drop, norm.act))
    return nn.Identity().train(norm.training)


@torch.no_grad()
def _fold(convolution: nn.Conv2d | DynamicConv2d, norm: nn.Module) -> None:
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    weight, bias = convolution.weight, convolution.bias
    # [O, …] of a static convolution, [K, O, …] of a dynamic one.
    bias = shift.expand(weight.shape[:-3]) if bias is None else bias * scale + shift
    for name, value in (("weight", weight * scale[:, None, None, None]), ("bias", bias)):
        trains = weight.requires_grad
        setattr(convolution, name, nn.Parameter(value.to(weight.dtype).contiguous(), requires_grad=trains))
