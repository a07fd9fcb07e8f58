import re

import pytest

from eamlib.__main__ import main
from eamlib.papers.eam import COST_ROWS, cost_table

pytest.importorskip("fvcore")

# Solved from the paper's printed totals: parameters exactly, FLOPs by fvcore in millions.
EXPECTED = {
    ("mobilenet_v1", "static"): (3_309_476, 577.95),
    ("mobilenet_v1", "dynamic"): (14_267_372, 597.09),
    ("mobilenet_v1", "eam-rcr"): (12_889_292, 590.94),
    ("mobilenet_v1", "eam-cgr"): (12_889_292, 590.94),
    ("mobilenet_v1", "eam-stride"): (13_483_292, 592.56),
    ("mobilenet_v2", "dynamic"): (11_252_148, 344.79),
    ("mobilenet_v2", "eam-rcr"): (8_977_108, 335.88),
    ("mobilenet_v2", "eam-cgr"): (8_977_108, 335.88),
}


@pytest.fixture(scope="module")
def table():
    return cost_table()


def test_every_row_has_its_parameters_and_flops(table):
    assert {(row.model, row.conv) for row, _ in table} == set(EXPECTED)
    for row, ours in table:
        parameters, flops = EXPECTED[row.model, row.conv]
        assert ours.parameters == parameters
        assert abs(ours.flops / 1e6 - flops) <= 0.01


def test_parameters_agree_with_the_paper_to_the_printed_digit_but_for_the_misprint(table):
    for row, ours in table:
        if row.parameters is None:
            continue
        agrees = round(ours.parameters / 1e6, 2) == row.parameters
        assert agrees == (not row.remark), row


def test_differences_of_flops_within_a_network_agree_with_the_paper(table):
    for network in ("mobilenet_v1", "mobilenet_v2"):
        rows = [(row, ours) for row, ours in table if row.model == network and row.flops is not None]
        constants = [ours.flops / 1e6 - row.flops for row, ours in rows]
        assert max(constants) - min(constants) < 0.011  # each printed figure is rounded to 0.01


def test_command_prints_every_row(capsys):
    assert main(["cost"]) == 0
    printed = capsys.readouterr().out
    for row in COST_ROWS:
        parameters, flops = EXPECTED[row.model, row.conv]
        pattern = rf"^{re.escape(row.network)} .* {parameters:,} .* {flops:.2f} "
        assert re.search(pattern, printed, re.MULTILINE), row.network
    assert "14.27" in printed and "583.55" in printed and "misprint" in printed


def test_a_narrow_terminal_shows_the_table_in_parts(capsys, monkeypatch):
    assert main(["cost"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["cost"]) == 0
    tables = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")[1:4]]
    assert max(len(line) for table in tables for line in table) <= 80 < max(map(len, whole.splitlines()[2:5]))
    for lines in zip(whole.splitlines()[3:], *(table[1:] for table in tables), strict=False):
        whole_line, *parts = (line.split() for line in lines)
        assert {*whole_line} == {word for part in parts for word in part}
