"""The repository keeps its own rules."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ADDRESS, NOTEBOOKS, PROJECT, ROOT, page_of

REQUIREMENTS = [
    line
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def repository_files() -> list[Path]:
    """Every file that is, or is about to be, in git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


# As GitHub, Colab and Binder write it.
MENTION = re.compile(r"(?:github(?:usercontent)?\.com|colab\.research\.google\.com/github|/gh)/([\w-]+/[\w.-]*[\w-])")


def test_repository_address_is_the_same_everywhere():
    repository = ADDRESS.removeprefix("https://github.com/")
    wrong = []
    for path in repository_files():
        if path.suffix in {".md", ".ipynb", ".py", ".yml", ".toml", ".cff", ".txt", ".html", ".json", ".sh", ""}:
            text = re.sub(r"([\w-]+)\.github\.io/", r"github.com/\1/", path.read_text(encoding="utf-8"))
            ours = [mention for mention in MENTION.findall(text) if re.search(r"\beamlib\b|\beam-book\b", mention)]
            wrong += [f"{path.relative_to(ROOT)}: {mention}" for mention in ours if mention != repository]
    assert not wrong


@pytest.mark.parametrize(("file", "path"), [("_config.yml", "repository.url"), ("CITATION.cff", "repository-code")])
def test_address_of(file, path):
    value = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    for key in path.split("."):
        value = value[key]
    assert value == ADDRESS


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirement_is_a_range(requirement):
    assert requirement == "-e ." or re.fullmatch(r"[\w-]+>=[\w.]+(,<\d+)?", requirement)


def test_requirements_contain_what_the_package_and_the_notebooks_need():
    project = PROJECT["project"]
    assert set(project["dependencies"] + project["optional-dependencies"]["notebooks"]) <= set(REQUIREMENTS)


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == PROJECT["project"]["version"]


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)", changelog, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
    assert headings[1].startswith(f"[{PROJECT['project']['version']}]")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)", changelog, re.MULTILINE)) <= kinds
    links = dict(re.findall(r"^(\[\S+\]): (\S+)", changelog, re.MULTILINE))
    assert links.keys() == {heading.split(" - ")[0] for heading in headings}
    assert all(link.startswith(ADDRESS) for link in links.values())


def test_no_file_is_big():
    limits = {"weights": 3_000_000, "images": 4_000_000}
    files = {path.relative_to(ROOT): path.stat().st_size for path in repository_files()}
    assert not [
        path
        for path, size in files.items()
        if size > max((limit for part, limit in limits.items() if part in path.parts), default=1_000_000)
    ]


def test_contents_name_every_notebook():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert not [path.name for path in NOTEBOOKS if f"{page_of(path)}\n" not in toc]
