"""Take the README's picture out of the built book: the figure of the cell tagged ``readme-picture``."""

import base64
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]

notebook = nbformat.read(ROOT / "_build" / "jupyter_execute" / "notebooks" / "09_eam.ipynb", as_version=4)
[cell] = [cell for cell in notebook.cells if "readme-picture" in cell.metadata.get("tags", [])]
[png] = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
(ROOT / "book" / "_static" / "what_eam_reads.png").write_bytes(base64.b64decode(png))
