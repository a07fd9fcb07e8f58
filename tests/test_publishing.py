"""What publishes the book and opens it elsewhere: GitHub's workflows, Binder, the development container.

None of them can be run here. Their files are held to their schemas, to the Makefile and to pyproject.toml, and the two
scripts that decide something are run against a `gh` that only answers.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from test_project import PROJECT

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yml")}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def steps(workflow) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def check(*command: str) -> str:
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_workflows_are_as_github_wants_them():
    files = [str(path) for path in sorted(ROOT.glob(".github/workflows/*.yml"))]
    check("check-jsonschema", "--builtin-schema=vendor.github-workflows", *files)
    check("check-jsonschema", "--builtin-schema=vendor.dependabot", ".github/dependabot.yml")
    check("check-jsonschema", "--builtin-schema=vendor.citation-file-format", "CITATION.cff")


def test_workflows_hold_for_actionlint():
    check("actionlint")


def test_workflows_are_safe():
    """No secret within a pull request's reach, no text of one in a script, no more rights than needed."""
    check("zizmor", "--offline", "--quiet", "--min-severity=medium", ".github")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_names_targets_that_exist(name):
    scripts = "\n".join(step.get("run", "") for step in steps(WORKFLOWS[name]))
    named = {target for line in re.findall(r"^\s*make ([a-z ]+)$", scripts, re.MULTILINE) for target in line.split()}
    assert named <= TARGETS
    assert not [
        path for path in re.findall(r"(?:^|[ \"/])((?:tests|\.ci)/[\w./]+)", scripts) if not (ROOT / path).exists()
    ]


def test_workflows_name_each_other():
    names = {workflow["name"] for workflow in WORKFLOWS.values()}
    assert set(WORKFLOWS["publish"][True]["workflow_run"]["workflows"]) <= names  # YAML reads `on` as true
    jobs = WORKFLOWS["weekly"]["jobs"]
    assert set(jobs["report"]["needs"]) == set(jobs) - {"report"}, "a failure that nobody is told of"


def test_pythons_that_are_tested_are_those_that_are_promised():
    tested = WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"
    assert (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-") in tested
    assert CONTAINER["image"].rpartition(":")[2] in tested


def test_binder_takes_the_requirements_from_pyproject():
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    [index, package] = [line for line in lines if not line.startswith("#")]
    assert index.startswith("--extra-index-url https://download.pytorch.org/")
    extras = Requirement("eamlib" + package.removeprefix("-e .")).extras
    assert extras and extras <= PROJECT["project"]["optional-dependencies"].keys()


def test_development_container_makes_the_book():
    assert CONTAINER["postCreateCommand"].split() == ["make", "book"]
    interpreter = CONTAINER["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"


GH = """#!/usr/bin/env python3
import json, pathlib, subprocess, sys

arguments = sys.argv[1:]
with open("said", "a") as said:
    print(*arguments, file=said)
if arguments[:2] == ["run", "download"]:
    folder = pathlib.Path(arguments[arguments.index("--dir") + 1])
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(arguments[2])
for key, answer in json.loads(pathlib.Path("answers").read_text()).items():
    if key in " ".join(arguments[:3]):
        jq = ["jq", "--raw-output", arguments[arguments.index("--jq") + 1]]
        print(subprocess.run(jq, input=json.dumps(answer), capture_output=True, text=True, check=True).stdout, end="")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that runs a job's script where `gh` has the given answers, and returns what `gh` was asked for."""
    if not shutil.which("jq"):
        pytest.skip("needs jq")
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gh.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_REPO", "some/book")

    def script(workflow, answers):
        [source] = [step["run"] for step in steps(WORKFLOWS[workflow]) if "gh " in step.get("run", "")]
        (tmp_path / "answers").write_text(json.dumps(answers))
        (tmp_path / "said").write_text("")
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", source]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done, (tmp_path / "said").read_text().splitlines()

    return script


def artifact(run, commit, branch, *, fork=False, expired=False):
    repositories = {"repository_id": 1, "head_repository_id": 2 if fork else 1}
    return {"expired": expired, "workflow_run": {"id": run, "head_sha": commit, "head_branch": branch} | repositories}


def pull(number, commit, *labels, fork=False):
    return {
        "number": number,
        "headRefOid": commit,
        "isCrossRepository": fork,
        "labels": [{"name": name} for name in labels],
    }


PUBLISHED = {
    "artifacts?name=site": {
        "artifacts": [
            artifact(95, "f00d", "main", fork=True),
            artifact(94, "c0de", "better", expired=True),
            artifact(93, "beef", "fix", fork=True),
            artifact(92, "cafe", "idea"),
            artifact(91, "aaaa", "main"),
            artifact(90, "bbbb", "main"),
        ]
    },
    "/pages": {"html_url": "https://some.example/book/"},
    "pr list": [
        pull(4, "c0de"),
        pull(5, "f00d", "bug", fork=True),
        pull(6, "beef", "preview", fork=True),
        pull(7, "cafe"),
    ],
}


def test_main_is_published_with_the_previews_that_may_be(script, tmp_path):
    done, said = script("publish", PUBLISHED)
    assert done.returncode == 0, done.stderr
    site = {str(page.relative_to(tmp_path)): page.read_text() for page in tmp_path.rglob("index.html")}
    assert site == {
        "site/index.html": "91",  # the newest of main, and not the fork's branch of that name
        "site/preview/6/index.html": "93",  # a fork's, which a maintainer labelled
        "site/preview/7/index.html": "92",
    }
    comments = [line for line in said if line.startswith("pr comment")]
    assert [re.search(r"https://\S+", line)[0] for line in comments] == [
        "https://some.example/book/preview/6/",
        "https://some.example/book/preview/7/",
    ]


def test_without_a_book_of_main_nothing_is_published(script):
    done, _ = script("publish", PUBLISHED | {"artifacts?name=site": {"artifacts": [artifact(92, "cafe", "idea")]}})
    assert done.returncode != 0
    assert "run the workflow Test on main first" in done.stderr


@pytest.mark.parametrize(("open_issues", "does"), [([], "create"), ([{"number": 12}, {"number": 3}], "comment 12")])
def test_a_failure_has_one_issue(script, monkeypatch, open_issues, does):
    monkeypatch.setenv("RESULTS", "newest releases: success, links: failure, Colab: success")
    monkeypatch.setenv("RUN", "https://some.example/runs/1")
    done, said = script("weekly", {"issue list": open_issues})
    assert done.returncode == 0, done.stderr
    [act] = [line for line in said if line.startswith(("issue create", "issue comment"))]
    assert act.startswith(f"issue {does} ") and "links: failure" in act and act.endswith("/runs/1")
