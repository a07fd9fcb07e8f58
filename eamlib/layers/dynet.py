"""The convolution of DyNet: every output channel mixes its own few kernels, by coefficients that depend on the image.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694. What Ding et al. 2021 call DyNet is another operator: one mixture
a layer, :class:`eamlib.layers.DynamicConv2d`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import feature_maps, one_of, positive_int
from eamlib.functional.tiled import is_traced
from eamlib.functional.ways import per_sample_conv2d
from eamlib.layers.geometry import ConvGeometry
from eamlib.layers.leaf import leaf

FUSES = ("auto", "kernels", "maps")


class CoefficientPredictor(nn.Module):
    """Global average pool, FC, sigmoid: ``[B, C, H, W] -> [B, num_coefficients]``, each in (0, 1).

    Args:
        in_channels: how many channels the input has, C.
        num_coefficients: how many. A convolution of O output channels needs O · group_size.
        hidden: with a number, two linear layers with so many units and a ReLU between them. The paper does this in
            its ResNets, with C / 4 units, to save parameters; the ReLU is our choice.

    Raises:
        ValueError: if a count is below 1, or an input has other than C channels.

    Source: Zhang et al. 2020, section 3.2.

    Example:
        >>> coefficients = CoefficientPredictor(16, num_coefficients=12)(torch.randn(2, 16, 5, 5))
        >>> coefficients.shape, bool(((0 < coefficients) & (coefficients < 1)).all())
        (torch.Size([2, 12]), True)
    """

    def __init__(self, in_channels: int, num_coefficients: int, hidden: int | None = None, *, device=None, dtype=None):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.in_channels = features = positive_int("in_channels", in_channels)
        layers = []
        if hidden is not None:
            layers = [nn.Linear(features, positive_int("hidden", hidden), **factory), nn.ReLU()]
            features = hidden
        layers += [nn.Linear(features, positive_int("num_coefficients", num_coefficients), **factory), nn.Sigmoid()]
        self.predict = nn.Sequential(*layers)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return self.predict(F.adaptive_avg_pool2d(feature_maps("input", input, self.in_channels), 1).flatten(1))


class DyNetConv2d(ConvGeometry):
    """A convolution whose output channel t uses the kernel Σ_i η_t^i w_t^i: ``[B, C, H, W] -> [B, O, H', W']``.

    Convolution is linear in its kernel. So the g kernels of a channel can be mixed before one convolution a sample, or
    all O · g kernels be convolved with the whole batch at once and the g maps of a channel mixed: the same output.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in ``nn.Conv2d``.
        group_size: g, the fixed kernels of each output channel; the paper takes 6.
        coefficients: a module that makes η, ``[B, O · g]``, from this layer's input. None makes a
            :class:`CoefficientPredictor`; in a block, :func:`share_predictor` puts one for the block in its place.
        fuse: ``"kernels"``, ``"maps"``, or ``"auto"``: maps in training and kernels in eval mode, as the paper. Kernels
            cost about as much as one static convolution, maps cost g of them. Fusing kernels that are larger than 1×1
            or grouped fixes the batch size of a graph, so an exported or compiled ``"auto"`` fuses maps there in eval
            mode too.
        device, dtype: of the parameters that this layer makes.

    ``weight`` is ``[O · g, C / groups, kh, kw]``, the g kernels of a channel side by side; ``bias`` is ``[O · g]``,
    mixed like the kernels, or None.

    Raises:
        ValueError: if a count is below 1, ``groups`` does not divide the channels, ``fuse`` is unknown, or the
            coefficients have another shape.

    Source: Zhang et al. 2020, equation 3 (the kernels) and section 3.2 (mixing the maps in training).

    Example:
        >>> layer, maps = DyNetConv2d(16, 32, 3, padding=1, group_size=6), torch.randn(2, 16, 8, 8)
        >>> layer.weight.shape  # 32 · 6 kernels
        torch.Size([192, 16, 3, 3])
        >>> by_maps = layer(maps)
        >>> by_kernels = layer.eval()(maps)
        >>> by_maps.shape, torch.allclose(by_maps, by_kernels, atol=1e-5)
        (torch.Size([2, 32, 8, 8]), True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        group_size: int = 6,
        coefficients: nn.Module | None = None,
        fuse: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.group_size = positive_int("group_size", group_size)
        self.fuse = one_of("fuse", fuse, FUSES)
        self.num_coefficients = out_channels * group_size

        # All O · g kernels are those of one wide convolution, and are initialised as such.
        factory = {"device": device, "dtype": dtype}
        wide = nn.Conv2d(in_channels, self.num_coefficients, self.kernel_size, groups=groups, bias=bias, **factory)
        self.weight, self.bias = wide.weight, wide.bias
        if coefficients is None:
            coefficients = CoefficientPredictor(in_channels, self.num_coefficients, **factory)
        self.coefficients = coefficients

    @leaf
    def forward(self, input: Tensor, coefficients: Tensor | None = None) -> Tensor:
        """``coefficients``: η, ``[B, O · g]``, where the block has predicted it; else this layer predicts it."""
        feature_maps("input", input, self.in_channels)
        if coefficients is None:
            if self.coefficients is None:
                raise ValueError("coefficients = None, but this layer's predictor belongs to its block: pass its η.")
            coefficients = self.coefficients(input)
        expected = [input.shape[0], self.num_coefficients]
        if list(coefficients.shape) != expected:
            raise ValueError(
                f"coefficients has shape {list(coefficients.shape)}; allowed is [B, O · group_size] = {expected}."
            )
        eta = coefficients.unflatten(1, (self.out_channels, self.group_size))
        by_maps = self.training or (is_traced() and not self._is_pointwise())
        maps = by_maps if self.fuse == "auto" else self.fuse == "maps"
        # No sample has no kernel either, so an empty batch is always run the other way.
        return self._fuse_maps(input, eta) if maps or input.shape[0] == 0 else self._fuse_kernels(input, eta)

    def _fuse_kernels(self, input: Tensor, eta: Tensor) -> Tensor:
        # One product per channel: [O, B, g] @ [O, g, numbers of a kernel].
        per_channel = eta.transpose(0, 1)
        kernels = self.weight.flatten(1).unflatten(0, (self.out_channels, self.group_size))
        mixed = (per_channel @ kernels).transpose(0, 1)
        bias = self.bias
        if bias is not None:
            bias = (eta * bias.view(self.out_channels, self.group_size)).sum(2)
        if self._is_pointwise():
            pixels = input[:, :, :: self.stride[0], :: self.stride[1]]
            output = torch.einsum("boc,bchw->bohw", mixed, pixels)
            return output if bias is None else output + bias[:, :, None, None].to(output.dtype)  # autocast's
        mixed = mixed.unflatten(2, self.weight.shape[1:])
        return per_sample_conv2d(input, mixed, bias, self.stride, self.padding, self.dilation, self.groups)

    def _is_pointwise(self) -> bool:
        """Whether a kernel is a matrix and multiplies the pixels as they are: fast, and free of the batch's size."""
        return self.groups == 1 and self.kernel_size == (1, 1) and self.padding == (0, 0)

    def _fuse_maps(self, input: Tensor, eta: Tensor) -> Tensor:
        maps = F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return torch.einsum("bog,boghw->bohw", eta, maps.unflatten(1, (self.out_channels, self.group_size)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, group_size={self.group_size}, fuse={self.fuse}"


class BlockPredictor(CoefficientPredictor):
    """One predictor for the convolutions of a block: ``[B, C, H, W] -> [B, sizes[0]], [B, sizes[1]], …``.

    Args:
        sizes: how many coefficients each convolution takes, in the order in which the block runs them.
        in_channels, hidden: as in :class:`CoefficientPredictor`.

    Example:
        >>> first, second = BlockPredictor(16, sizes=[96, 192])(torch.randn(2, 16, 5, 5))
        >>> first.shape, second.shape
        (torch.Size([2, 96]), torch.Size([2, 192]))
    """

    def __init__(self, in_channels: int, sizes: Sequence[int], hidden: int | None = None):
        super().__init__(in_channels, sum(sizes), hidden)
        self.sizes = list(sizes)

    @leaf
    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        return super().forward(input).split(self.sizes, dim=1)


def share_predictor(block: nn.Module, in_channels: int, hidden: int | None = None) -> BlockPredictor | None:
    """Take their predictors from the DyNet convolutions inside ``block`` and return one for all of them.

    None if there are none, so that a block need not know what it is made of: it says
    ``self.predictor = share_predictor(self, in_channels)`` when all its convolutions are there, and in ``forward``
    ``run_chains(self.predictor, input, *chains)``.

    Args:
        in_channels: of what the predictor will read: the block's input.
        hidden: as in :class:`CoefficientPredictor`.

    Example:
        >>> block = Chain(DyNetConv2d(16, 32, 1), nn.ReLU(), DyNetConv2d(32, 8, 1))
        >>> predictor = share_predictor(block, in_channels=16)
        >>> [coefficients.shape[1] for coefficients in predictor(torch.randn(2, 16, 5, 5))]  # 6 · 32 and 6 · 8
        [192, 48]
        >>> share_predictor(nn.Conv2d(16, 32, 1), in_channels=16) is None
        True
    """
    convolutions = [module for module in block.modules() if isinstance(module, DyNetConv2d)]
    if not convolutions:
        return None
    for convolution in convolutions:
        convolution.coefficients = None
    return BlockPredictor(in_channels, [convolution.num_coefficients for convolution in convolutions], hidden)


def run_chains(predictor: BlockPredictor | None, input: Tensor, *chains: Callable[..., Tensor]) -> list[Tensor]:
    """What each of a block's chains makes of its input, with the coefficients that ``predictor`` predicts from it.

    Args:
        predictor: of :func:`share_predictor`. None runs the chains as any ``Sequential``.
        input: of the block, ``[B, C, H, W]``.
        chains: in the order of the block's modules.

    Example:
        >>> block = Chain(DyNetConv2d(16, 32, 1), nn.ReLU(), DyNetConv2d(32, 8, 1))
        >>> predictor = share_predictor(block, in_channels=16)
        >>> [output] = run_chains(predictor, torch.randn(2, 16, 5, 5), block)
        >>> output.shape
        torch.Size([2, 8, 5, 5])
    """
    if predictor is None:
        return [chain(input) for chain in chains]
    predicted = predictor(input)  # not to be iterated over where torch.fx traces the block
    coefficients = (predicted[i] for i in range(len(predictor.sizes)))
    return [chain(input, coefficients) for chain in chains]


class Chain(nn.Sequential):
    """A ``Sequential`` that hands on coefficients, if any: each DyNet convolution in it takes the next ones.

    Example:
        >>> block, maps = Chain(DyNetConv2d(16, 32, 1), nn.ReLU()), torch.randn(2, 16, 5, 5)
        >>> predictor = share_predictor(block, in_channels=16)
        >>> block(maps, iter(predictor(maps))).shape
        torch.Size([2, 32, 5, 5])
    """

    def forward(self, input: Tensor, coefficients: Iterator[Tensor] | None = None) -> Tensor:
        for layer in self:
            if coefficients is not None and isinstance(layer, DyNetConv2d):
                input = layer(input, next(coefficients))
            elif coefficients is not None and isinstance(layer, Chain):
                input = layer(input, coefficients)
            else:
                input = layer(input)
        return input
