"""Where the examples in the library's docstrings run: ``pytest --doctest-modules eamlib``."""

from pathlib import Path

import pytest


@pytest.fixture
def doctest_namespace(tmp_path, monkeypatch):
    """What the reference says is imported; an empty folder to write to, with the recorded runs beside; and a seed."""
    import matplotlib
    import torch
    from matplotlib import pyplot

    import eamlib

    matplotlib.use("agg")
    (tmp_path / "results").symlink_to(Path(__file__).with_name("results"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    with matplotlib.rc_context():
        yield {"eamlib": eamlib, "nn": torch.nn, "torch": torch}
    pyplot.close("all")
