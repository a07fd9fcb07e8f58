"""The lines of Python that load trained weights, written beside them."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from eamlib._files import replace


def lines(where: str, weights: str, model: str, conv: str | None, **arguments: object) -> str:
    """Lines of Python that build a network as it was trained and load its weights.

    Args:
        where: the import that ``weights`` needs.
        weights: an expression for the state dict.
        model, conv, arguments: of :func:`eamlib.create_model`.
    """
    given = [_written(value) for value in (model, conv) if value is not None]
    given += [f"{name}={_written(value)}" for name, value in arguments.items()]
    return (
        f"from eamlib import create_model\n{where}\n\n"
        f"model = create_model({', '.join(given)}).eval()\nmodel.load_state_dict({weights})"
    )


def note(
    folder: str | Path,
    statistics: tuple[Tensor, Tensor],
    average: bool,
    model: str,
    conv: str | None,
    **arguments: object,
) -> None:
    """Write ``README.md`` into a folder of checkpoints.

    Args:
        folder: of :func:`eamlib.training.fit`.
        statistics: :func:`eamlib.training.pixel_statistics` of the training images.
        average: whether the average of the weights was kept, which is then what was tested.
        model, conv, arguments: of :func:`eamlib.create_model`.
    """
    which = "average" if average else "weights"
    weights = f"latest({_written(str(folder))}).weights[{_written(which)}]"
    mean, std = ([round(value, 4) for value in statistic.flatten().tolist()] for statistic in statistics)
    text = f"""# Trained weights

`epoch-….pt` holds the weights after that epoch, and what the training needs to go on. The weights of the last one are
loaded by

```python
{lines("from eamlib.training.checkpoint import latest", weights, model, conv, **arguments)}
```

**Input**: `[B, 3, H, W]`, pixels from 0 to 1, less the mean {mean} and then divided by the standard
deviation {std} of the training images, channel by channel. **Output**: a logit for each class.
"""
    replace(Path(folder) / "README.md", text)


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
