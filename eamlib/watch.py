"""What chosen layers of a network answer to images.

:func:`outputs_of` does it in one call. It is made of three pieces that serve alone as well: :func:`watch` notes what
layers answer while it is entered, :func:`evaluating` sets the mode, :func:`predictions` runs the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Batch = Tensor | tuple[Tensor, Tensor]


def outputs_of(
    model: nn.Module,
    batches: Iterable[Batch],
    modules: Mapping[str, nn.Module] | type[nn.Module] | tuple[type[nn.Module], ...],
    keep: Callable[[str, tuple, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Run ``model`` over ``batches`` and return what ``modules`` answered, all images along the first dimension.

    Args:
        model: it runs in eval mode and without gradients; its mode is restored.
        batches: as in :func:`predictions`.
        modules: layers of ``model`` by any name; or a class, for all its instances by the names of ``named_modules``.
        keep: as in :func:`watch`. All that is kept lies in memory together: keep what you need of large maps.

    Raises:
        ValueError: as :func:`predictions` and :func:`joined`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> batches = [torch.randn(5, 3, 9, 9), torch.randn(2, 3, 9, 9)]
        >>> maps = outputs_of(model, batches, nn.Conv2d)
        >>> {name: of_layer.shape for name, of_layer in maps.items()}
        {'0': torch.Size([7, 8, 7, 7]), '2': torch.Size([7, 4, 5, 5])}
    """
    if not isinstance(modules, Mapping):
        modules = {name: module for name, module in model.named_modules() if isinstance(module, modules)}
    with evaluating(model), watch(modules, keep) as seen:
        for _ in predictions(model, batches):
            pass
    return joined(seen)


@contextmanager
def watch(
    modules: Mapping[str, nn.Module],
    keep: Callable[[str, tuple, Tensor | None], Tensor | None] | None = None,
    *,
    before: bool = False,
) -> Iterator[dict[str, list[Tensor]]]:
    """While entered, note what ``modules`` answer: a list by name, one entry a call.

    Args:
        modules: layers by any name.
        keep: ``keep(name, inputs, output)`` makes the entry; ``inputs`` are the positional arguments of the call. Where
            it returns None there is none, for it may have added up what it wants itself. Left out, it takes ``output``,
            detached.
        before: make the entry before the layer runs, of its inputs alone: ``output`` is then None.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> with watch({"rectified": model[1]}) as seen:
        ...     _ = model(torch.randn(2, 3, 9, 9))
        >>> [maps.shape for maps in seen["rectified"]]
        [torch.Size([2, 8, 7, 7])]
    """
    if keep is None:
        keep = _detached
    seen = {name: [] for name in modules}
    hooks = []
    try:
        for name, module in modules.items():

            def note(_, inputs, output=None, name=name):
                if (entry := keep(name, inputs, output)) is not None:
                    seen[name].append(entry)

            hooks.append((module.register_forward_pre_hook if before else module.register_forward_hook)(note))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def joined(seen: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """The entries of each name as one tensor, along the first dimension.

    Raises:
        ValueError: if a layer has none, for it did not run.

    Example:
        >>> joined({"layer": [torch.zeros(5, 8), torch.zeros(2, 8)]})["layer"].shape
        torch.Size([7, 8])
    """
    for name, entries in seen.items():
        if not entries:
            raise ValueError(f"layer {name!r} did not run: the model does not use it, in eval mode at least.")
    return {name: torch.cat(entries) for name, entries in seen.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; then every module's own mode again.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model):
        ...     print(model.training, torch.is_grad_enabled())
        False False
        >>> model.training
        True
    """
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def predictions(model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Yield (images, labels or None, what ``model`` answers) a batch, on the model's device.

    Args:
        model: run in the mode that it is in; see :func:`evaluating`.
        batches: tensors of images ``[B, C, H, W]``, or pairs of these and labels, as a ``DataLoader`` gives them.

    Raises:
        ValueError: if a batch is neither, or there is no image in all of them.

    Example:
        >>> model, batches = nn.Flatten(), [(torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 2, 3]))]
        >>> for images, labels, output in predictions(model, batches):
        ...     print(images.shape, labels, output.shape)
        torch.Size([4, 3, 2, 2]) tensor([0, 1, 2, 3]) torch.Size([4, 12])
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    count = 0
    for number, batch in enumerate(batches):
        images, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        if not isinstance(images, Tensor) or images.dim() != 4:
            what = f"shape {list(images.shape)}" if isinstance(images, Tensor) else f"type {type(images).__name__}"
            raise ValueError(
                f"batches: number {number} is of {what}; allowed is [B, C, H, W], or a pair of that and labels."
            )
        count += len(images)
        images = images.to(device)
        yield images, None if labels is None else labels.to(device), model(images)
    if count == 0:
        raise ValueError("batches holds no image; at least one is needed.")


def _detached(name: str, inputs: tuple, output: Tensor) -> Tensor:
    return output.detach()
