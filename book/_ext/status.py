"""The status page: with what the book was made, what runs are recorded, and where the workflows report."""

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

# How a record names a processor: eamlib.records.device_name. Whatever else it names is a GPU.
PROCESSOR = re.compile(r", \d+ threads?$")


def setup(app):
    app.add_directive("build-facts", BuildFacts)
    app.add_directive("recorded-runs", RecordedRuns)
    app.add_directive("workflows", Workflows)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Written(SphinxDirective):
    """A directive whose content is Markdown that it writes itself."""

    def run(self):
        written = nodes.container()
        source = f"<{self.name}>"
        self.state.nested_parse(StringList(list(self.lines()), source), 0, written)
        return written.children

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class BuildFacts(Written):
    """The budget, the versions, the device, the commit and the date of this build."""

    def lines(self):
        self.env.note_reread()  # the date is another one in every build
        facts = self.env.app.build_facts | self.env.app.build_source
        facts["date"] = datetime.now().strftime("%Y-%m-%d %H:%M")
        yield from (f"- **{name}** {value}" for name, value in facts.items())


class RecordedRuns(Written):
    """The recorded runs, folder by folder: how many, on what and when; and whether a GPU is among the devices."""

    def lines(self):
        found = inventory(Path(self.env.srcdir, "results"))
        yield "| `results/` | records | device | taken (UTC) |"
        yield "|---|---|---|---|"
        for folder, records in found.items():
            dates = sorted({record["date"][:10] for record in records})
            when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
            devices = "; ".join(sorted({record["device"] for record in records}))
            yield f"| `{folder}` | {len(records)} | {devices} | {when} |"
        yield ""
        yield on_what([record for records in found.values() for record in records])


class Workflows(Written):
    """The repository's workflows, each with the addresses of its runs and of its badge."""

    def lines(self):
        project = tomllib.loads(Path(self.env.srcdir, "pyproject.toml").read_text(encoding="utf-8"))
        actions = f"{project['project']['urls']['Repository']}/actions/workflows"
        files = sorted(Path(self.env.srcdir, ".github", "workflows").glob("*.yml"))
        if not files:
            yield "This checkout has no workflows."
        for file in files:
            yield f"- [{file.stem}]({actions}/{file.name}), [badge]({actions}/{file.name}/badge.svg)"


def inventory(results: Path) -> dict[str, list[dict]]:
    """The device and the date of every record, by its folder. A table that was made of records is none."""
    found: dict[str, list[dict]] = {}
    for path in sorted(results.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if {"device", "date"} <= record.keys():
            about = {key: record[key] for key in ("device", "date")}
            found.setdefault(path.relative_to(results).parts[0], []).append(about)
    return found


def on_what(records: list[dict]) -> str:
    """Whether any of the records is from a GPU, in a sentence."""
    gpus = sorted({record["device"] for record in records if not PROCESSOR.search(record["device"])})
    if not gpus:
        return f"All {len(records)} were taken on a CPU: no recorded run is from a GPU."
    from_gpus = sum(record["device"] in gpus for record in records)
    return f"{from_gpus} of the {len(records)} are from a GPU ({', '.join(gpus)}), the others from a CPU."
