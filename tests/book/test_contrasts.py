"""What the pictures of planned contrasts hold; their pixels are for the eye."""

from dataclasses import asdict

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from eamlib.book.contrasts import _VERDICTS, forest, verdict_grid

pytestmark = pytest.mark.usefixtures("unseen")

CONTRAST = {"label": "RCR − DyNet", "data": "CIFAR-100", "n": 8, "mean": 0.31, "low": 0.05, "high": 0.57}
CONTRAST |= {"p_adjusted": 0.04, "improvement": {"probability": 0.77, "low": 0.51, "high": 0.92}, "printed": 0.07}
CONTRAST |= {"verdict": "settled", "margin": 0.25}
NONE = {"n": 0, "mean": None, "low": None, "high": None, "p_adjusted": None, "improvement": None, "printed": None}
NONE |= {"verdict": "not tested"}


def lines(ax, marker):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines if line.get_marker() == marker]


def beside(figure):
    texts = [text.get_text() for text in figure.axes[1].texts]
    heads = [texts.index(head) for head in ("P(better)", "adjusted p", "verdict")]
    return [texts[i : i + 3] for i in range(0, min(heads), 3)]


def test_the_forest_shows_every_contrast():
    other = CONTRAST | {"data": "CIFAR-10", "mean": -0.1, "low": -0.41, "high": 0.21, "p_adjusted": 0.0004}
    other |= {"verdict": "bounded", "printed": -0.38, "margin": 0.5, "n": 4}
    figure = forest([CONTRAST, other])
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "RCR − DyNet\nCIFAR-100, 8 pairs",
        "RCR − DyNet\nCIFAR-10, 4 pairs",
    ]
    assert [x for x, _ in lines(ax, "o")] == [[0.31]] and [x for x, _ in lines(ax, "s")] == [[-0.1]]
    assert [x for x, _ in lines(ax, "D")] == [[0.07], [-0.38]]
    hollow = next(line for line in ax.lines if line.get_marker() == "D")
    assert hollow.get_markerfacecolor() == "white"
    intervals = [x for x, y in lines(ax, "None") if len(x) == 2 and y[0] == y[1]]
    assert intervals == [[0.05, 0.57], [-0.41, 0.21]]
    bands = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bands == [(-0.25, 0.5), (-0.5, 1.0)]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is on top"
    assert beside(figure) == [["0.77 [0.51, 0.92]", "0.040", "settled"], ["0.77 [0.51, 0.92]", "< 0.001", "bounded"]]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["settled", "bounded", "the paper's", "margin"]


def test_what_was_not_run_has_a_line_of_dashes():
    figure = forest([CONTRAST | NONE | {"label": "CGR − DyNet"}])
    assert beside(figure) == [["–", "–", "not tested"]]
    assert not any(lines(figure.axes[0], mark) for mark in "osDx")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["margin"]
    single = CONTRAST | {"n": 1, "low": None, "high": None, "p_adjusted": None, "verdict": "not tested"}
    figure = forest([single | {"improvement": {"probability": 1.0, "low": None, "high": None}}])
    assert [x for x, _ in lines(figure.axes[0], "x")] == [[0.31]]
    assert beside(figure) == [["–", "–", "not tested"]], "one pair of runs is no frequency"


def test_an_interval_that_says_nothing_does_not_set_the_scale():
    wide = CONTRAST | {"low": -9.0, "high": 8.0, "verdict": "not tested"}
    ax = forest([CONTRAST, wide]).axes[0]
    low, high = ax.get_xlim()
    assert low == -high and 0.57 < high < 1
    assert lines(ax, "<")[0][0] == [low] and lines(ax, ">")[0][0] == [high]
    one_sided = forest([CONTRAST, wide | {"low": -0.2}]).axes[0]
    assert not lines(one_sided, "<") and lines(one_sided, ">")


def test_the_grid_has_a_row_a_claim_and_a_column_a_set_of_data():
    contrasts = [
        CONTRAST,
        CONTRAST | {"data": "CIFAR-10", "mean": -0.1, "low": -0.41, "high": 0.21, "verdict": "bounded"},
        CONTRAST | NONE | {"label": "CGR − DyNet", "data": "CIFAR-10"},
    ]
    ax = verdict_grid(contrasts)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CIFAR-100", "CIFAR-10"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RCR − DyNet", "CGR − DyNet"]
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "settled\n+0.31 [+0.05, +0.57]",
        (1, 0): "bounded\n−0.10 [−0.41, +0.21]",
        (0, 1): "not tested",  # nobody asked
        (1, 1): "not tested",
    }
    _, own = plt.subplots()
    assert verdict_grid([CONTRAST | {"low": None, "high": None}], own) is own
    assert own.texts[0].get_text() == "settled\n+0.31"


def test_the_words_can_be_read_on_their_ground():
    def luminance(colour):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for fill, ink, _ in _VERDICTS.values():
        dark, light = sorted((luminance(fill), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) > 4.5
    assert len({mark for *_, mark in _VERDICTS.values()}) == 3


def test_the_pictures_take_what_the_library_finds():
    pytest.importorskip("scipy")
    from eamlib.book import claims
    from eamlib.book.comparisons import improvement
    from eamlib.papers.statistics import paired

    assert list(_VERDICTS) == [claims.SETTLED, claims.BOUNDED, claims.NOT_TESTED]
    rows = {0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4}
    found = asdict(paired(*rows))
    contrast = {"label": "a", "data": "b", "p_adjusted": 0.01, "improvement": asdict(improvement(*rows))}
    contrast |= {name: found[name] for name in ("n", "mean", "low", "high")}
    contrast |= {"printed": None, "verdict": claims.conclude(paired(*rows), 0.01, 1.0), "margin": claims.MARGIN}
    assert beside(forest([contrast]))[0][1:] == ["0.010", "settled"]


@pytest.mark.parametrize("draw", [forest, verdict_grid])
@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([], "contrasts is empty"),
        ([CONTRAST, {"label": "a", "data": "b", "n": 3}], "contrast 'a' lacks mean, low, high, p_adjusted"),
        ([CONTRAST | {"verdict": "supported"}], "verdict = 'supported' is unknown. Did you mean 'settled'"),
    ],
)
def test_a_contrast_must_be_whole(draw, contrasts, message):
    with pytest.raises(ValueError, match=message):
        draw(contrasts)


def test_a_claim_has_one_cell_on_one_set_of_data():
    with pytest.raises(ValueError, match="two of one label on the same data"):
        verdict_grid([CONTRAST, CONTRAST])
