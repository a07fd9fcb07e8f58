"""Tables as pages show them."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from eamlib.book.tables import table


def cells(frame, *args, **kwargs):
    """What a reader sees, the heading first; and its HTML."""
    html = table(frame, *args, **kwargs).to_html()
    rows = BeautifulSoup(html, "html.parser").find_all("tr")
    return [[cell.get_text(strip=True) for cell in row.find_all(["th", "td"])] for row in rows], html


def test_numbers_have_separators_and_three_digits_and_what_is_missing_is_empty():
    frame = pd.DataFrame({"count": [1234567, 3], "share": [0.012345, None], "ms": [1234.5, 12.345]})
    assert cells(frame)[0] == [["count", "share", "ms"], ["1,234,567", "0.0123", "1,234"], ["3", "", "12.3"]]


def test_row_names_become_the_first_column():
    frame = pd.DataFrame({"right": [True, False]}, index=pd.Index(["dynamic", "static"], name="network"))
    assert cells(frame)[0] == [["network", "right"], ["dynamic", "True"], ["static", "False"]]


def test_a_caption_and_a_format_of_its_own():
    rows, html = cells(pd.DataFrame({"accuracy": [91.14]}), "Top-1 (paper)", {"accuracy": "{:.1f} %"})
    assert rows[1] == ["91.1 %"] and "<caption>Top-1 (paper)</caption>" in html


def test_text_stands_on_the_left():
    _, html = cells(pd.DataFrame({"network": ["static"], "ms": [1]}))
    assert ".col0 {\n  text-align: left" in html and ".col1" not in html


def test_a_format_of_no_column_is_refused():
    with pytest.raises(ValueError, match=r"formats names \['ms'\]; allowed are the columns \['accuracy'\]"):
        table(pd.DataFrame({"accuracy": [1]}), formats={"ms": "{}"})
