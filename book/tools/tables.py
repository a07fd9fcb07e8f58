"""Write the tables below `results/` anew, of their records and of today's rows: part of `make numbers`."""

from pathlib import Path

from eamlib.book import report

RESULTS = Path(__file__).parents[2] / "results"


def write(results: Path) -> None:
    for path in sorted(results.glob("tables/*.json")):
        report.save(report.rebuild(path, results), results)


if __name__ == "__main__":
    write(RESULTS)
