import itertools
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from eamlib.book.printed_figures import differences, heterogeneity, unanimity
from eamlib.papers.accuracy import TABLES
from eamlib.papers.statistics import holm

IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet100": 5_000}
# MobileNetV1 in four widths, MobileNetV2, MobileNetV3-small and -large.
FAMILIES = ["V1"] * 4 + ["V2", "V3-small", "V3-large"]


def printed():
    """DyNet, RCR and CGR of the paper's first table, ``[data, network, conv]``."""
    rows = [row for row in TABLES["baseline"].rows if row.printed and row.conv != "static"]
    return [[[row.printed[data] for row in rows[i : i + 3]] for i in range(0, len(rows), 3)] for data in IMAGES]


@pytest.mark.parametrize(("rho", "told"), [(0, 0), (0.3, 0), (0.6, 0), (0.7, 2), (0.8, 5), (0.9, 8)])
def test_the_ablations_have_something_to_explain_if_networks_err_alike(rho, told):
    p = []
    for name, data in itertools.product(("channels", "selection", "pooling", "output-size"), IMAGES):
        rows = [row for row in TABLES[name].rows if row.printed and row.conv != "dynamic"]
        p.append(heterogeneity([row.printed[data] for row in rows], IMAGES[data], rho))
    assert len(p) == 12 and sum(value < 0.05 for value in p) == told


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_heterogeneity_of_two_rows_is_their_difference(rho):
    # Near 75 % of 10,000 images: √(2 · 0.75 · 0.25 / 10,000) = 0.61 points at ρ = 0, and √(1 − ρ) of it at another.
    error = 100 * math.sqrt(2 * 0.75 * 0.25 * (1 - rho) / 10_000)
    expected = 2 * stats.norm.sf(0.4 / error)
    assert heterogeneity([75.2, 74.8], 10_000, rho) == pytest.approx(expected, rel=1e-3)


def test_heterogeneity_holds_its_level_where_networks_err_alike():
    generator, rho = np.random.default_rng(0), 0.6
    shared = generator.random((2000, 1, 1500)) < 0.8
    own = generator.random((2000, 3, 1500)) < 0.8
    right = np.where(generator.random((2000, 3, 1500)) < math.sqrt(rho), shared, own)  # correlation ρ of any two
    accuracies = 100 * right.mean(2)
    for assumed, level in ((rho, 0.05), (0.0, 0.0005)):
        alarms = [heterogeneity(list(row), 1500, assumed) < 0.05 for row in accuracies]
        assert np.mean(alarms) == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heterogeneity([75], 100), r"accuracies = \[75\] must be of two rows"),
        (lambda: heterogeneity([75, 120], 100), "accuracies = 120 must be an accuracy"),
        (lambda: heterogeneity([75, 74], 1.5), "images = 1.5 must be"),
        (lambda: heterogeneity([75, 74], 100, rho=-0.1), "rho = -0.1 must be"),
        (lambda: unanimity([[71.0, 70.0]], ["V1"]), r"figures has shape \[1, 2\]"),
        (lambda: unanimity([[[71.0], [70.0]]], ["V1", "V2"]), r"figures has shape \[1, 2, 1\]"),
        (lambda: unanimity([[[71.0, math.nan]]], ["V1"]), "finite"),
        (lambda: unanimity([[[71.0, 70.0]]], ["V1", "V2"]), r"families = \['V1', 'V2'\] must name .* 1 networks"),
    ],
)
def test_bad_figures_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_the_papers_columns_say_depends_on_what_may_be_exchanged():
    found = unanimity(printed(), FAMILIES)
    assert (found.columns, found.unanimous) == (9, 3)
    assert found.by_cell == pytest.approx(0.00059, abs=5e-6), "0.06 %, if 21 cells were independent"
    assert found.by_family == pytest.approx(0.0362, abs=5e-5), "3.6 %, if four widths of a network are not"
    assert found.by_data == 1, "and nothing, if a data set's networks are not"
    both_v3 = unanimity(printed(), ["V1"] * 4 + ["V2", "V3", "V3"])
    assert both_v3.by_family == pytest.approx(0.0864, abs=5e-5)


def test_unanimity_is_what_counting_all_exchanges_gives():
    figures = np.random.default_rng(3).integers(0, 4, (2, 3, 3)).astype(float)  # with ties
    families = ["a", "b", "a"]

    def unanimous(table):
        signs = [np.sign(table[..., i] - table[..., j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))]
        return int((np.abs(signs) == 3).sum())

    orders = [list(order) for order in itertools.permutations(range(3))]
    counts = []
    for chosen in itertools.product(orders, repeat=4):
        table = figures.copy()
        for (data, family), order in zip(itertools.product(range(2), "ab"), chosen, strict=True):
            members = [k for k, own in enumerate(families) if own == family]
            table[data, members] = figures[data][members][:, order]
        counts.append(unanimous(table))
    found = unanimity(figures, families)
    assert found.unanimous == unanimous(figures)
    assert found.by_family == pytest.approx(np.mean([count >= found.unanimous for count in counts]))


def test_two_names_are_a_sign_test():
    found = unanimity([[[71.0, 70.0]] * 7], range(7))
    assert found.by_cell == found.by_family == pytest.approx(stats.binomtest(7, 7).pvalue)
    assert unanimity([[[71.0, 70.0], [70.0, 70.0]]], "ab").unanimous == 0, "a tie is no vote"


def test_the_printed_differences_are_counted_once_each():
    """The ablations' copies of DyNet, RCR and CGR are one network each."""
    found = differences()
    assert len(found) == 81 and {d.images for d in found} == {10_000, 5_000}
    points = {(d.title, d.data): round(d.accuracy - d.baseline, 2) for d in found}
    assert points["MobileNetV1 ×1.0, EAM RCR", "imagenet100"] == 0.43
    assert points["MobileNetV2 ×1.0, EAM RCR", "imagenet100"] == 0.56
    assert ("EAM, 4 channels", "cifar10") not in points and points["EAM, 8 channels", "cifar10"] == 0.08


@pytest.mark.parametrize(("rho", "alone", "after_holm"), [(0, 0, 0), (0.5, 4, 0), (0.62, 6, 0), (0.9, 25, 9)])
def test_how_many_printed_differences_stand_out(rho, alone, after_holm):
    z = []
    for d in differences():
        v, w = (q * (100 - q) for q in (d.accuracy, d.baseline))
        z.append(abs(d.accuracy - d.baseline) / math.sqrt((v + w - 2 * rho * math.sqrt(v * w)) / d.images))
    assert sum(value > 1.96 for value in z) == alone
    assert sum(p < 0.05 for p in holm([2 * stats.norm.sf(value) for value in z])) == after_holm


def test_one_column_of_nine_does_not_survive_alone():
    tests = []
    for i, j in ((1, 0), (2, 0), (2, 1)):
        for data in printed():
            signs = [row[i] > row[j] for row in data]
            tests.append(stats.binomtest(sum(signs), len(signs)).pvalue)
    assert sum(p == pytest.approx(1 / 64) for p in tests) == 3 and min(holm(tests)) == pytest.approx(9 / 64)
