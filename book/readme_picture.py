"""Take the README's picture out of the built book: the figure of the cell tagged ``readme-picture``."""

import html
import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]

source = ROOT / "notebooks" / "09_eam" / "09_1_select_pool_predict.ipynb"
cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
[cell] = [cell for cell in cells if "readme-picture" in cell["metadata"].get("tags", [])]
alt = html.escape(cell["metadata"]["mystnb"]["image"]["alt"])
page = ROOT / "_build" / "html" / "notebooks" / "09_eam" / "09_1_select_pool_predict.html"
picture = re.search(rf'<img alt="{re.escape(alt)}"[^>]* src="([^"]+)"', page.read_text(encoding="utf-8"))
shutil.copyfile(page.parent / picture[1], ROOT / "book" / "_static" / "what_eam_reads.png")
