"""One way to show a table on a page: a caption, no index, thousands separators, text on the left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler


def table(rows: pd.DataFrame, caption: str | None = None, formats: Mapping[str, str] | None = None) -> Styler:
    """A frame as a page shows it. The row names, if it has any, become its first column.

    Args:
        rows: what to show.
        caption: a sentence above it, which also says where the numbers come from if this page did not compute them.
        formats: of columns, as in ``{"accuracy": "{:.2f}"}``. The others get thousands separators, and three
            significant digits if they hold fractions; what is missing stays empty.

    Raises:
        ValueError: if ``formats`` names a column that is not there.

    Example:
        >>> import pandas as pd
        >>> shown = table(pd.DataFrame({"parameters": [4_231_976]}, index=["MobileNetV1"]), "Counted")
        >>> "4,231,976" in shown.to_html()
        True
    """
    unnamed = rows.index.names == [None]
    if not (unnamed and list(rows.index) == list(range(len(rows)))):
        rows = rows.rename_axis([name or "" for name in rows.index.names]).reset_index()
    formats = dict(formats or {})
    if unknown := formats.keys() - set(rows.columns):
        raise ValueError(f"formats names {sorted(unknown)}; allowed are the columns {list(rows.columns)}.")
    shown = rows.style.hide(axis="index").format(
        {name: formats.get(name, _written) for name in rows.columns}, na_rep=""
    )
    left = [i for i, name in enumerate(rows.columns) if not _is_number(rows[name])]
    shown.set_table_styles([{"selector": f".col{i}", "props": "text-align: left"} for i in left])
    return shown if caption is None else shown.set_caption(caption)


def _is_number(column: pd.Series) -> bool:
    return column.dtype.kind in "iufc"


def _written(value: object) -> str:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    if number.is_integer():
        return f"{int(number):,}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.{_digits(number)}f}"


def _digits(number: float) -> int:
    """Decimals for three significant digits."""
    return max(0, 2 - math.floor(math.log10(abs(number))))
