"""Training: the loop, the recipe that it follows, and what keeps a run whole when it is interrupted."""

from eamlib.training.loop import (
    evaluate,
    fit,
    normalize,
    pick_device,
    pixel_statistics,
    right_answers,
    seed_everything,
)

__all__ = ["evaluate", "fit", "normalize", "pick_device", "pixel_statistics", "right_answers", "seed_everything"]
