"""What the figures hold; their pixels are for the eye."""

import matplotlib.pyplot as plt
import pytest
import torch

from eamlib import plots
from eamlib.redundancy import ChannelStatistics

pytestmark = pytest.mark.usefixtures("unseen")


def statistics(samples):
    found = ChannelStatistics(samples.shape[1])
    found.update(samples)
    return found


@pytest.fixture
def families():
    """Eight channels: 0, 3 and 5 are affine copies, 1 and 6 too, 2 and 4 stand alone, 7 is dead."""
    a, b, c, d = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
    return statistics(torch.stack([a, b, c, 2 * a + 1, d, -a, 3 * b, torch.ones(500)], 1))


def heatmap(figure):
    return next(ax for ax in figure.axes if ax.get_xlabel() == "channel")


def test_the_map_has_like_channels_side_by_side_and_no_dead_one(families):
    ax = heatmap(plots.correlation_map(families))
    order = [int(label.get_text()) for label in ax.get_xticklabels()]
    assert sorted(order) == [0, 1, 2, 3, 4, 5, 6]
    places = sorted(order.index(channel) for channel in (0, 3, 5))
    assert places[2] - places[0] == 2
    shown = torch.tensor(ax.collections[0].get_array()).view(7, 7).double()
    torch.testing.assert_close(shown, families.correlation[order][:, order])
    assert ax.collections[0].get_clim() == (-1, 1)
    assert len(ax.texts) == 49


def test_the_map_of_magnitudes_and_of_many_channels():
    many = statistics(torch.randn(100, 20))
    ax = heatmap(plots.correlation_map(many, absolute=True))
    assert ax.collections[0].get_array().min() >= 0
    assert ax.collections[0].get_clim() == (0, 1)
    assert not ax.texts


def test_a_map_needs_a_pair():
    with pytest.raises(ValueError, match="1 live channels"):
        plots.correlation_map(statistics(torch.tensor([[1.0, 2.0], [1.0, 3.0]])))


def test_bars_are_the_shares_and_told_apart_without_colour(families):
    other = statistics(torch.randn(1000, 5))
    ax = plots.strength_bars({"first": families, "second": other})
    bars = {container.get_label(): list(container) for container in ax.containers}
    for i, found in enumerate((families, other)):
        assert {name: bar[i].get_height() for name, bar in bars.items()} == pytest.approx(
            {name: 100 * share for name, share in found.strengths().items()}
        )
        assert sum(bar[i].get_height() for bar in bars.values()) == pytest.approx(100)
    looks = {(bar[0].get_hatch(), sum(bar[0].get_facecolor())) for bar in bars.values()}
    assert len(looks) == 4
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "second"]


def test_bars_take_other_edges_and_refuse_nothing(families):
    _, ax = plt.subplots()
    assert plots.strength_bars({"1": families}, ax, edges=(1, 0.999999, 0.99999)) is ax
    with pytest.raises(ValueError, match="empty"):
        plots.strength_bars({})


def test_depth_is_the_layers_where_networks_share_them():
    ax = plots.against_depth({"a": {"1": 0.5, "2": 0.25}, "b": {"1": 1.0, "2": 0.75}}, ylabel="rank")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.25], [1.0, 0.75]]
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    assert ax.get_ylabel() == "rank"


def test_depth_is_a_share_where_they_do_not():
    ax = plots.against_depth({"a": {"x": 1, "y": 2, "z": 3}, "b": {"v": 4, "w": 5}})
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 0.5, 1], [0, 1]]
    assert "depth" in ax.get_xlabel()
    for nothing in ({}, {"a": {}}):
        with pytest.raises(ValueError, match="at least one"):
            plots.against_depth(nothing)


def test_the_gallery_links_duplicates(families):
    figure = plots.gallery(torch.randn(8, 4, 4), families, columns=3)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["0  A", "1  B", "2", "3  A", "4", "5  A", "6  B", "7", ""]
    framed = [ax.get_title() for ax in figure.axes if ax.get_frame_on() and ax.axison]
    assert framed == ["0  A", "1  B", "3  A", "5  A", "6  B"]
    assert len(figure.axes[0].images) == 1


def test_a_chain_of_duplicates_is_one_family():
    a, b = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    chain = statistics(torch.stack([a, a + 0.28 * b, a + 0.6 * b], 1))
    r = chain.correlation
    assert r[0, 1] > 0.95
    assert r[1, 2] > 0.95
    assert r[0, 2] < 0.95
    figure = plots.gallery(torch.randn(3, 2, 2), chain, columns=3)
    assert [ax.get_title() for ax in figure.axes] == ["0  A", "1  A", "2  A"]


def test_a_gallery_without_statistics_frames_nothing():
    figure = plots.gallery(torch.randn(3, 2, 2))
    assert not any(ax.get_frame_on() and ax.axison for ax in figure.axes)


def test_a_gallery_is_of_one_image_and_one_layer(families):
    with pytest.raises(ValueError, match=r"\[C, H, W\]"):
        plots.gallery(torch.randn(1, 8, 4, 4))
    with pytest.raises(ValueError, match="3 channels"):
        plots.gallery(torch.randn(3, 4, 4), families)
