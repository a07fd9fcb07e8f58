import inspect

import pytest
import torch
from torch import nn

from eamlib import layers
from eamlib.layers import SELECTIONS, EAMAttention, attention, channel_selection, dynamic, dynet, selection


@pytest.fixture
def maps():
    return torch.randn(2, 12, 5, 5, generator=torch.Generator().manual_seed(0))


def test_rcr_keeps_the_same_distinct_channels(maps):
    select = channel_selection("rcr", 12, 4, seed=3)
    assert len(set(select.indices.tolist())) == 4
    torch.testing.assert_close(select(maps), maps[:, select.indices])
    torch.testing.assert_close(select(maps), select(maps))


def test_rcr_draw_is_fixed_by_its_seed_or_the_global_one():
    def drawn(seed):
        return channel_selection("rcr", 1000, 4, seed).indices.tolist()

    assert drawn(5) == drawn(5) != drawn(6)
    torch.manual_seed(0)
    first = drawn(None)
    assert drawn(None) != first
    torch.manual_seed(0)
    assert drawn(None) == first


def test_rcr_indices_travel_with_the_state_dict():
    source, target = channel_selection("rcr", 64, 4, seed=1), channel_selection("rcr", 64, 4, seed=2)
    target.load_state_dict(source.state_dict())
    assert target.indices.tolist() == source.indices.tolist()


@pytest.mark.parametrize(("name", "reduce"), [("cgr", torch.mean), ("cgr-max", torch.amax)])
def test_cgr_reduces_groups_of_neighbours(maps, name, reduce):
    expected = torch.stack([reduce(maps[:, i : i + 3], dim=1) for i in (0, 3, 6, 9)], dim=1)
    torch.testing.assert_close(channel_selection(name, 12, 4)(maps), expected)


def test_cgr_with_a_number_that_does_not_divide(maps):
    expected = torch.stack([maps[:, a:b].mean(1) for a, b in ((0, 3), (3, 6), (6, 8), (8, 10), (10, 12))], 1)
    torch.testing.assert_close(channel_selection("cgr", 12, 5)(maps), expected)


def test_stride_and_quarters_partition_the_channels(maps):
    torch.testing.assert_close(channel_selection("stride", 12)(maps), maps[:, [0, 4, 8]])
    quarters = [channel_selection(f"slice{q}", 12)(maps) for q in range(4)]
    torch.testing.assert_close(torch.cat(quarters, dim=1), maps)


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_gradient_of_channels_last_maps_is_the_same_and_has_their_layout(maps, name):
    select, gradients = channel_selection(name, 12, seed=0), {}
    for layout in (torch.contiguous_format, torch.channels_last):
        input = maps.to(memory_format=layout).requires_grad_()
        picked = select(input)
        (gradients[layout],) = torch.autograd.grad((picked * picked.detach()).sum(), input)
        assert gradients[layout].is_contiguous(memory_format=layout)
    torch.testing.assert_close(*gradients.values())


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("channels", [4, 7, 12])
def test_out_channels_is_what_comes_out(name, channels):
    select = channel_selection(name, channels)
    assert select(torch.zeros(1, channels, 2, 2)).shape == (1, select.out_channels, 2, 2)


@pytest.mark.parametrize("name", ["rcr", "cgr", "cgr-max"])
def test_more_channels_than_the_image_has(name):
    with pytest.raises(ValueError, match="channels = 4 selects more than the 3 channels.*allowed is 1 to 3"):
        channel_selection(name, 3, 4)
    assert channel_selection(name, 3, 3)(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rcrr", 8), "select = 'rcrr' is unknown. Did you mean 'rcr'"),
        (("rcr", 0), "in_channels = 0"),
        (("rcr", 8, 0), "channels = 0 must be an integer of at least 1"),
        (("rcr", 8, 2.0), "channels = 2.0"),
        (("slice0", 3), "in_channels = 3 has no quarters"),
        (("slice0", 8, 2), "channels = 2 means nothing to select = 'slice0'"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        channel_selection(*arguments)


def test_input_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"input has shape \[1, 8, 2, 2\]; allowed is \[B, 16, H, W\]"):
        channel_selection("stride", 16)(torch.zeros(1, 8, 2, 2))


@pytest.mark.parametrize("module", [attention, dynamic, dynet, selection], ids=lambda module: module.__name__)
def test_every_layer_is_public(module):
    """The API reference and the tests of the examples look at these names alone."""
    own = {n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__}
    hidden = {n for n in own if not n.startswith("_") and issubclass(getattr(module, n), nn.Module)} - {*layers.__all__}
    assert not hidden, "import it in eamlib/layers/__init__.py and name it in __all__, or begin its name with _"


@pytest.mark.parametrize("documented", [channel_selection, EAMAttention])
def test_every_selection_is_documented(documented):
    named = set(SELECTIONS) - {"slice1", "slice2"}  # between "slice0" and "slice3"
    missing = [name for name in named if f'"{name}"' not in documented.__doc__]
    assert not missing, f"say what they are in the docstring of {documented.__name__}, under select"
