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
from conftest import PROJECT, ROOT
from packaging.requirements import Requirement

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
import json, pathlib, subprocess, sys, urllib.parse

arguments = sys.argv[1:]
with open("said", "a") as said:
    print(*arguments, file=said)
if arguments[:2] == ["run", "download"]:
    folder = pathlib.Path(arguments[arguments.index("--dir") + 1])
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(arguments[2])
answers = json.loads(pathlib.Path("answers").read_text())
if "/runs?" in arguments[1]:
    path, query = arguments[1].split("/runs?")
    asked = dict(urllib.parse.parse_qsl(query), workflow=path.rpartition("/")[2])
    runs = [run for run in answers["runs"] if all(run.get(key, value) == value for key, value in asked.items())]
    answers = {"": {"workflow_runs": runs}}
for key, answer in answers.items():
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


def run(number, commit, branch="main", *, workflow="test", event="push", status="success"):
    return {"id": number, "head_sha": commit, "branch": branch, "event": event, "status": status} | {
        "workflow": f"{workflow}.yml"
    }


def pull(number, commit, *labels, fork=False):
    return {
        "number": number,
        "headRefOid": commit,
        "isCrossRepository": fork,
        "labels": [{"name": name} for name in labels],
    }


LABELLED = {"statuses": [{"context": "other", "state": "success"}, {"context": "preview", "state": "success"}]}
PUBLISHED = {
    "runs": [
        run(97, "dead", "fix", event="pull_request", status="failure"),
        run(96, "aaab", status="failure"),
        run(95, "f00d", event="pull_request"),
        run(94, "feed", "fix", event="pull_request"),
        run(93, "beef", "fix", event="pull_request"),
        run(92, "cafe", "idea", event="pull_request"),
        run(91, "aaaa"),
        run(90, "bbbb"),
        run(89, "bbbb", workflow="weekly", event="schedule"),
    ],
    "/pages": {"html_url": "https://some.example/book/"},
    "commits/beef/status": LABELLED,
    "commits/feed/status": {"statuses": [{"context": "preview", "state": "failure"}]},
    "commits/f00d/status": LABELLED,
    "commits/dead/status": LABELLED,
    "pr list": [
        pull(3, "feed", "preview", fork=True),
        pull(4, "c0de"),
        pull(5, "f00d", "bug", fork=True),
        pull(6, "beef", "preview", fork=True),
        pull(7, "cafe"),
        pull(8, "dead", "preview", fork=True),
    ],
}


def test_main_is_published_with_the_previews_that_may_be(script, tmp_path):
    done, said = script("publish", PUBLISHED)
    assert done.returncode == 0, done.stderr
    site = {str(page.relative_to(tmp_path)): page.read_text() for page in tmp_path.rglob("index.html")}
    assert site == {
        "site/index.html": "91",  # of main the newest that is green, and not the fork's branch of that name
        "site/preview/6/index.html": "93",  # a fork's commit that a maintainer labelled
        "site/preview/7/index.html": "92",
    }
    comments = [line for line in said if line.startswith("pr comment")]
    assert [re.search(r"of (\w+): (https://\S+)", line).groups() for line in comments] == [
        ("beef", "https://some.example/book/preview/6/"),
        ("cafe", "https://some.example/book/preview/7/"),
    ]


def test_what_a_fork_pushes_after_the_label_is_not_shown(script, tmp_path):
    later = run(98, "beef2", "fix", event="pull_request")
    pushed = {"runs": [later, *PUBLISHED["runs"]], "pr list": [pull(6, "beef2", "preview", fork=True)]}
    done, _ = script("publish", PUBLISHED | pushed)
    assert done.returncode == 0, done.stderr
    assert [str(page.relative_to(tmp_path)) for page in tmp_path.rglob("index.html")] == ["site/index.html"]


def test_the_label_allows_the_commit_that_was_labelled(script, monkeypatch):
    [job] = WORKFLOWS["preview"]["jobs"].values()
    assert WORKFLOWS["preview"][True] == {"pull_request_target": {"types": ["labeled"]}}
    assert job["if"] == "github.event.label.name == 'preview'" and job["permissions"] == {"statuses": "write"}
    assert not [step for step in job["steps"] if "uses" in step], "no code of a pull request comes near this"
    [step] = job["steps"]
    assert step["env"]["COMMIT"] == "${{ github.event.pull_request.head.sha }}"
    monkeypatch.setenv("COMMIT", "beef")
    monkeypatch.setenv("WHO", "somebody")
    done, said = script("preview", {})
    assert done.returncode == 0, done.stderr
    [asked] = said
    assert asked.startswith("api repos/some/book/statuses/beef ") and "state=success" in asked
    assert "context=preview" in asked, "what publish.yml looks for"


def test_a_newer_green_week_is_published(script, tmp_path):
    week = run(99, "aaaa", workflow="weekly", event="schedule")
    done, _ = script("publish", PUBLISHED | {"runs": [week, *PUBLISHED["runs"]]})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").read_text() == "99"


def test_without_a_green_run_of_main_nothing_is_published(script):
    red = [run(96, "aaab", status="failure"), run(95, "f00d", event="pull_request")]
    done, said = script("publish", PUBLISHED | {"runs": red})
    assert done.returncode != 0
    assert "run the workflow Test on main first" in done.stderr
    assert not [line for line in said if line.startswith("run download")]


@pytest.mark.parametrize(("open_issues", "does"), [([], "create"), ([{"number": 12}, {"number": 3}], "comment 12")])
def test_a_failure_has_one_issue(script, monkeypatch, open_issues, does):
    monkeypatch.setenv("RESULTS", "newest releases: success, links: failure, Colab: success")
    monkeypatch.setenv("RUN", "https://some.example/runs/1")
    done, said = script("weekly", {"issue list": open_issues})
    assert done.returncode == 0, done.stderr
    [act] = [line for line in said if line.startswith(("issue create", "issue comment"))]
    assert act.startswith(f"issue {does} ") and "links: failure" in act and act.endswith("/runs/1")
