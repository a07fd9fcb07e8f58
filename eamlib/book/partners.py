"""How many channels of the book's network have a partner, layer by layer: a figure of the landing page."""

from __future__ import annotations

from functools import cache

RUN = "fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0"
IMAGES = 1000  # of the 2,000 that come with the book, as in chapter 08
THRESHOLD = 0.8  # a strong correlation, eamlib.redundancy.EDGES


@cache
def partnered(view: str) -> dict[str, float]:
    """The share of live channels with a partner, another channel with ``|r| >= 0.8``: of the stem and of the pointwise
    layers, behind their ReLU.

    Args:
        view: what is correlated, as :func:`eamlib.redundancy.measure` has it: ``"pixels"``, or the maps' ``"means"``.

    Example:
        >>> list(partnered("means"))[:2]
        ['stem', 'block 1, pointwise']
    """
    from torch import nn

    from eamlib.analysis.names import layer_names
    from eamlib.book import weights
    from eamlib.book.explore.duplicates import nearest
    from eamlib.data import sample
    from eamlib.redundancy import measure
    from eamlib.training import normalize

    model = weights.load(RUN)
    names = layer_names(model)
    layers = [
        path
        for path, layer in model.named_modules()
        if isinstance(layer, nn.ReLU) and not names[path].endswith("depthwise")
    ]
    images = normalize(sample().images[:IMAGES], *weights.PIXEL_STATISTICS["fashion_mnist"])
    found = measure(model, images.split(250), layers, view=view)
    return {names[path]: (nearest(of) >= THRESHOLD).double().mean().item() for path, of in found.items()}
