"""The status page: with what the book was made, what runs are recorded, and where the workflows report."""

import re
import tomllib
from datetime import datetime
from pathlib import Path

from generated import GeneratedMarkdown

from eamlib.papers import records

# How a record names a processor: eamlib.papers.records.device_name. Whatever else it names is a GPU.
PROCESSOR = re.compile(r", \d+ threads?$")


def setup(app):
    app.add_directive("build-facts", BuildFacts)
    app.add_directive("recorded-runs", RecordedRuns)
    app.add_directive("workflows", Workflows)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class BuildFacts(GeneratedMarkdown):
    """The budget, the versions, the device, the commit and the date of this build."""

    def lines(self):
        self.env.note_reread()  # the date is another one in every build
        facts = self.env.app.build_facts | self.env.app.build_source
        facts["date"] = datetime.now().strftime("%Y-%m-%d %H:%M")
        yield from (f"- **{name}** {value}" for name, value in facts.items())


class RecordedRuns(GeneratedMarkdown):
    """The recorded runs, folder by folder: how many, on what and when; and whether a GPU is among the devices."""

    def lines(self):
        found = inventory(Path(self.env.srcdir, "results"))
        yield "| `results/` | records | device | taken (UTC) |"
        yield "|---|---|---|---|"
        for folder, runs in found.items():
            dates = sorted({run["date"][:10] for run in runs})
            when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
            devices = "; ".join(sorted({run["device"] for run in runs}))
            yield f"| `{folder}` | {len(runs)} | {devices} | {when} |"
        yield ""
        yield on_what([run for runs in found.values() for run in runs])


class Workflows(GeneratedMarkdown):
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
        record = records.read(path)
        if {"device", "date"} <= record.keys():
            about = {key: record[key] for key in ("device", "date")}
            found.setdefault(path.relative_to(results).parts[0], []).append(about)
    return found


def on_what(runs: list[dict]) -> str:
    """Whether any of the recorded runs is from a GPU, in a sentence."""
    gpus = sorted({run["device"] for run in runs if not PROCESSOR.search(run["device"])})
    if not gpus:
        return f"All {len(runs)} were taken on a CPU: no recorded run is from a GPU."
    from_gpus = sum(run["device"] in gpus for run in runs)
    return f"{from_gpus} of the {len(runs)} are from a GPU ({', '.join(gpus)}), the others from a CPU."
