"""What the status page says of the build and of the recorded runs."""

import json
import re

import pytest
import status
from bs4 import BeautifulSoup
from conftest import ROOT

RESULTS = ROOT / "results"


@pytest.fixture
def page(html):
    return BeautifulSoup((html / "book" / "status.html").read_text(encoding="utf-8"), "html.parser").article


def test_the_inventory_counts_records_and_no_tables(tmp_path):
    for name, content in {
        "digits/a.json": {"device": "AMD EPYC, 1 thread", "date": "2026-11-21T10:00:00+00:00"},
        "digits/deeper/b.json": {"device": "Tesla T4", "date": "2026-11-22T10:00:00+00:00"},
        "tables/c.json": {"devices": ["AMD EPYC, 1 thread"]},
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    found = status.inventory(tmp_path)
    assert found.keys() == {"digits"}
    assert [record["device"] for record in found["digits"]] == ["AMD EPYC, 1 thread", "Tesla T4"]


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        (["AMD EPYC, 1 thread", "Apple M3, 8 threads"], "All 2 were taken on a CPU: no recorded run is from a GPU."),
        (["AMD EPYC, 2 threads", "Tesla T4"], "1 of the 2 are from a GPU (Tesla T4), the others from a CPU."),
    ],
)
def test_a_gpu_among_the_devices_is_named(devices, sentence):
    assert status.on_what([{"device": device, "date": "2026-11-22"} for device in devices]) == sentence


def test_the_page_says_with_what_it_was_built(page, html):
    execution = json.loads((html / "execution.json").read_text(encoding="utf-8"))
    facts = dict(item.get_text().split(" ", 1) for item in page.select("#made-with li"))
    assert facts.keys() == execution.keys() - {"notebooks"}
    assert all(facts[name] == execution[name] for name in facts.keys() - {"date"})


def test_the_page_counts_every_record(page):
    rows = [[cell.get_text() for cell in row.select("td")] for row in page.select("#recorded-runs tr")[1:]]
    records = [path for path in RESULTS.rglob("*.json") if '"device":' in path.read_text(encoding="utf-8")]
    assert sum(int(row[1]) for row in rows) == len(records) > 100
    assert {row[0] for row in rows} == {path.relative_to(RESULTS).parts[0] for path in records}
    assert re.search(r"(All|of the) \d+ (were taken on a CPU|are from a GPU)", page.get_text())


def test_the_page_leads_to_every_workflow(page):
    files = {path.name for path in ROOT.glob(".github/workflows/*.yml")}
    links = {link["href"] for link in page.select("#checked-elsewhere a")}
    named = {found[1] for link in links if (found := re.search(r"/actions/workflows/([^/]+)$", link))}
    assert named == files
