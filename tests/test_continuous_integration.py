"""What checks a change: the hooks of a commit, and the workflow of a public repository."""

import re

import yaml
from documented_commands import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def test_the_workflow_runs_lint_and_tests_on_every_supported_python():
    job = WORKFLOW["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    oldest = re.search(r'requires-python = ">=(.+?)"', (ROOT / "pyproject.toml").read_text())[1]
    assert job["strategy"]["matrix"]["python"][0] == oldest
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [c.split()[1] for c in commands if c.startswith("make ")] == ["lint", "test"]


def test_the_workflow_names_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    variables = re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)
    commands = [s["run"] for job in WORKFLOW["jobs"].values() for s in job["steps"] if "run" in s]
    made = [command.split()[1:] for command in commands if command.startswith("make ")]
    assert len(made) == 3
    for target, *settings in made:
        assert target in targets
        assert {setting.partition("=")[0] for setting in settings} <= set(variables)


def test_hooks_download_nothing():
    (repository,) = HOOKS["repos"]
    assert repository["repo"] == "local"
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith("python -m ")
