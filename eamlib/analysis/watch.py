"""What chosen layers of a network answer to images.

:func:`outputs_of` does it in one call. It is made of three pieces that serve alone as well: :func:`watch` notes what
layers answer while it is entered, :func:`evaluating` sets the mode, :func:`predictions` runs the batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

Batch = Tensor | tuple[Tensor, Any]


def outputs_of(
    model: nn.Module,
    batches: Iterable[Batch],
    modules: Mapping[str, nn.Module] | type[nn.Module] | tuple[type[nn.Module], ...],
    keep: Callable[[str, tuple, Tensor | None], Tensor | None] | None = None,
    *,
    before: bool = False,
) -> dict[str, Tensor]:
    """Run ``model`` over ``batches`` and return what ``modules`` answered, all images along the first dimension.

    Args:
        model: it runs in eval mode and without gradients; its mode is restored.
        batches: as in :func:`predictions`.
        modules: layers of ``model`` by any name; or a class, for all its instances by the names of ``named_modules``.
        keep, before: as in :func:`watch`. All that is kept lies in memory together: keep what you need of large maps.

    Raises:
        ValueError: as :func:`predictions`, :func:`watch` and :func:`joined`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3))
        >>> batches = [torch.randn(5, 3, 9, 9), torch.randn(2, 3, 9, 9)]
        >>> maps = outputs_of(model, batches, nn.Conv2d)
        >>> {name: of_layer.shape for name, of_layer in maps.items()}
        {'0': torch.Size([7, 8, 7, 7]), '2': torch.Size([7, 4, 5, 5])}
        >>> bool((maps["0"] < 0).any())  # what the convolution answered, not what the ReLU made of it in place
        True
    """
    if not isinstance(modules, Mapping):
        modules = {name: module for name, module in model.named_modules() if isinstance(module, modules)}
    with evaluating(model), watch(modules, keep, before=before) as seen:
        for _ in predictions(model, batches):
            pass
    return joined(seen)


@contextmanager
def watch(
    modules: Mapping[str, nn.Module],
    keep: Callable[[str, tuple, Tensor | None], Any] | None = None,
    *,
    before: bool = False,
) -> Iterator[dict[str, list]]:
    """While entered, note what ``modules`` answer: one list per name, one entry per call.

    An entry that shares memory with the inputs or the output of the call is a copy, since a later layer may write into
    them: ``ReLU(inplace=True)`` does, and ``x += shortcut``. An entry that requires a gradient is the tensor itself, so
    that gradients reach it.

    Args:
        modules: layers by any name.
        keep: ``keep(name, inputs, output)`` makes the entry: a tensor, or a tuple, list or dict of them. ``inputs`` are
            the arguments of the call in the order of the layer's ``forward``, also those that were given by keyword.
            Where it returns None there is no entry. By default it takes ``output``, or with ``before`` the first
            input, without a gradient.
        before: make the entry before the layer runs, when ``output`` is None: a layer that works in place overwrites
            its inputs.

    Raises:
        ValueError: while entered, if ``keep`` is left out and a layer answers no tensor but, say, a tuple.

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

            def note(module, args, kwargs, output=None, name=name):
                if (entry := keep(name, _in_order(module, args, kwargs), output)) is not None:
                    seen[name].append(_own(entry, (args, kwargs, output)))

            register = module.register_forward_pre_hook if before else module.register_forward_hook
            hooks.append(register(note, with_kwargs=True))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _in_order(module: nn.Module, args: tuple, kwargs: dict) -> tuple:
    if not kwargs:
        return args
    call = inspect.signature(module.forward).bind(*args, **kwargs)
    call.apply_defaults()  # a gap would end the arguments that have an order
    return call.args


def _own(entry: Any, call: tuple) -> Any:
    """``entry`` with a copy of every tensor in it that shares memory with those of the call."""
    shared = {_memory(tensor) for tensor in tree_leaves(call) if isinstance(tensor, Tensor)}

    def owned(tensor: Tensor) -> Tensor:
        return tensor.clone() if _memory(tensor) in shared and not tensor.requires_grad else tensor

    return tree_map_only(Tensor, owned, entry)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _detached(name: str, inputs: tuple, output: Any) -> Tensor:
    wanted = next(iter(inputs), None) if output is None else output
    if not isinstance(wanted, Tensor):
        raise ValueError(
            f"layer {name!r} {'reads' if output is None else 'answers'} a {type(wanted).__name__}; allowed without "
            "keep is a tensor: say with keep = lambda name, inputs, output: … what is wanted of it."
        )
    return wanted.detach()


def joined(seen: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """The entries of each name as one tensor, along the first dimension.

    The lists are empty afterwards: each entry is released when it has been copied, so that memory never holds all of
    them twice.

    Raises:
        ValueError: if a layer has none, for it did not run, or its entries are no tensors that fit together; ``seen``
            is then as it was.

    Example:
        >>> joined({"layer": [torch.zeros(5, 8), torch.zeros(2, 8)]})["layer"].shape
        torch.Size([7, 8])
    """
    for name, entries in seen.items():
        if not entries:
            raise ValueError(f"layer {name!r} did not run: the model does not use it, in eval mode at least.")
        kinds = {_kind(entry) for entry in entries}
        if len(kinds) > 1 or None in kinds:
            found = ", ".join(sorted({_said(entry) for entry in entries}))
            raise ValueError(f"the entries of layer {name!r} are {found}; allowed are tensors alike in [N, …].")
    return {name: _one_after_the_other(entries) for name, entries in seen.items()}


def _kind(entry: Any) -> tuple | None:
    """What the entries of a layer must share."""
    return (entry.shape[1:], entry.dtype, entry.device) if isinstance(entry, Tensor) and entry.dim() else None


def _said(entry: Any) -> str:
    return f"{list(entry.shape)} of {entry.dtype}" if isinstance(entry, Tensor) else f"a {type(entry).__name__}"


def _one_after_the_other(entries: list[Tensor]) -> Tensor:
    whole = entries[0].new_empty(sum(map(len, entries)), *entries[0].shape[1:])
    end = len(whole)
    while entries:
        entry = entries.pop()
        whole[end - len(entry) : end] = entry
        end -= len(entry)
    return whole


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


def predictions(model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Any, Any]]:
    """Yield (images, labels or None, what ``model`` answers) a batch, tensors on the model's device.

    Args:
        model: run in the mode that it is in; see :func:`evaluating`.
        batches: tensors of images ``[B, C, H, W]``, or pairs of these and labels, as a ``DataLoader`` gives them.
            Labels that are no tensor are yielded as they are.

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
        yield images, labels.to(device) if isinstance(labels, Tensor) else labels, model(images)
    if count == 0:
        raise ValueError("batches holds no image; at least one is needed.")
