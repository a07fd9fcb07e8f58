"""Train in as many processes as the launcher has started; each writes what came of it. Run by test_loop.py.

torchrun --nproc-per-node 2 tests/processes.py FOLDER IMAGES

Two epochs each: the second begins with what the processes shared after the first.
"""

import json
import os
import sys
from pathlib import Path

import tiny
import torch

CASES = {
    "plain": {},
    "augmented, averaged and accumulated": {"augment": tiny.flip, "ema": 0.9, "accumulate": 2},
    "with a last batch of one image": {"batch_size": 23, "accumulate": 2},  # 70 images
}
ON_DISK = "of images on disk"


def train(folder: Path, images: Path) -> dict:
    results = {}
    # Of 24 images, so that here, too, the last batch is one.
    on_disk = {"sets": tiny.on_disk(images), "batch_size": 23, "workers": 1}
    for number, (name, options) in enumerate((CASES | {ON_DISK: on_disk}).items()):
        options = {"augment": None, "ema": None, "temperature": None, "epochs": 2} | options
        model = tiny.without_batch_norm()
        model, history = tiny.run(
            folder / str(number), tiny.of_photographs(model) if name == ON_DISK else model, **options
        )
        weights = torch.cat([weight.flatten() for weight in model.state_dict().values()])
        results[name] = {"history": tiny.numbers(history), "weights": weights.tolist()}
    # Batch normalisation: only that all processes agree in the end is asked for.
    model, history = tiny.run(folder / "norm", epochs=2)
    results["normalised"] = {"history": tiny.numbers(history), "statistics": model[1].running_mean.tolist()}
    return results


if __name__ == "__main__":
    folder, images = map(Path, sys.argv[1:])
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(train(folder, images)))
