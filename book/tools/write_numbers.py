"""Write the numbers of the prose anew, from their sources: `make numbers`, after new records.

Every page is looked at before any is written, and a marker that cannot be evaluated stops it. A number that a cell of
its page computes is known once the book was built, and stays as it is until then.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import prose  # noqa: E402

from eamlib._files import replace  # noqa: E402


def pages() -> list[Path]:
    """Every file with prose."""
    return sorted(
        {
            *ROOT.glob("notebooks/**/*.ipynb"),
            *ROOT.glob("notebooks/**/*.md"),
            *ROOT.glob("book/*.md"),
            *(ROOT / name for name in prose.BESIDE),
        }
    )


def rewritten(file: Path, executed: Path | None = None) -> str:
    """The file with its numbers as they should be.

    Raises:
        prose.Trouble: if a marker cannot be evaluated, with its place.
    """
    names = prose.names_for(file, executed)
    text = file.read_text(encoding="utf-8")
    try:
        if file.suffix != ".ipynb":
            return prose.substitute(text, names)
        notebook, cell = json.loads(text), None
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = prose.substitute("".join(cell["source"]), names).splitlines(keepends=True)
    except prose.Trouble as trouble:
        place = f"{file.name}, cell {cell['id']}" if file.suffix == ".ipynb" else str(file.name)
        raise prose.Trouble(f"{place}, {trouble}") from trouble
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(files: list[Path]) -> str | None:
    """Rewrite them; what is wrong, if anything is."""
    executed = max(ROOT.glob("_build/executed/*/"), key=lambda folder: folder.stat().st_mtime, default=None)
    new, troubles = {}, []
    for file in files:
        try:
            new[file] = rewritten(file, executed)
        except prose.Trouble as trouble:
            troubles.append(str(trouble))
    if troubles:
        return "\n".join([*troubles, "Nothing was written."])
    changed = [file for file, text in new.items() if text != file.read_text(encoding="utf-8")]
    for file in changed:
        replace(file, new[file])
    for file in changed:
        print(f"{file}: written anew")
    print(f"{len(files)} pages, {len(changed)} changed")
    return None


if __name__ == "__main__":
    sys.exit(main([Path(name).resolve() for name in sys.argv[1:]] or pages()))
