"""What dynamic convolutions, training and the measures of redundancy cost in time and memory, measured where they run.

Each bench is a module with two functions: ``measure(device, …)`` yields its results one by one, as soon as they are
there and as plain as JSON; ``lines(result)`` is a result as text.
"""

from __future__ import annotations

from eamlib.bench import layers, memory, models, recipe, redundancy, segmentation, train

BENCHES = {
    "layers": layers,
    "models": models,
    "memory": memory,
    "train": train,
    "redundancy": redundancy,
    "recipe": recipe,
    "segmentation": segmentation,
}
