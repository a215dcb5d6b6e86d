#!/usr/bin/python3
"""The recipes of docs/editors.md and docs/ci.md, as far as they can be tried without their programs.

    documents.py KAGE

Every block is read in its language. What VS Code is to read is read by the pattern given there, the
steps of CI jobs run in a project that `kage init` made, and facts about a runner are facts to kage.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tomllib
    import yaml
except ImportError as missing:
    print(f"skipped: {missing} (apt-get install python3-yaml; tomllib comes with Python 3.11)")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
KAGE = os.path.realpath(sys.argv[1])


def blocks(page, language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / page).read_text(),
                       re.S | re.M)
    assert found, f"{page} has no block of {language}"
    return found


def shell(script, folder, **kwargs):
    env = dict(os.environ, PATH=os.path.dirname(KAGE) + ":" + os.environ["PATH"])
    return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=env, text=True,
                          capture_output=True, check=False, **kwargs)


def check_matcher(folder):
    (folder / "bad.kage.yaml").write_text(
        "version: 1\nimage: tiny\ncommands:\n  - run: make | tee log\n  - {exec: [a], cwd: x}\n")
    tasks = [json.loads(b) for b in blocks("editors.md", "json") if "problemMatcher" in b]
    task, = tasks[0]["tasks"]
    pattern = task["problemMatcher"]["pattern"]
    run = shell(task["command"], folder)
    lines = run.stdout.splitlines()
    assert run.returncode == 1 and len(lines) >= 2, run
    seen = set()
    for line in lines:
        match = re.search(pattern["regexp"], line)
        assert match, f"the pattern of VS Code's task does not read: {line}"
        assert os.path.normpath(match[pattern["file"]]) == "bad.kage.yaml", line
        assert match[pattern["line"]].isdigit() and match[pattern["column"]].isdigit(), line
        seen.add((match[pattern["severity"]], match[pattern["code"]]))
    assert {s for s, _ in seen} == {"error", "warning"}, seen
    (folder / "bad.kage.yaml").unlink()


def check_toml():
    for text in blocks("editors.md", "toml"):
        helix = tomllib.loads(text)
        language, = helix["language"]
        for server in language["language-servers"]:
            assert "command" in helix["language-server"][server], server


def steps_of(document):
    """The shell lines of a GitHub workflow or a GitLab job, which are different maps."""
    for job in document.get("jobs", document).values():
        if isinstance(job, dict):
            yield from (s["run"] for s in job.get("steps", []) if "run" in s)
            yield from job.get("script", [])


def check_ci(folder):
    ran = 0
    for text in blocks("ci.md", "yaml"):
        document = yaml.safe_load(text)
        assert isinstance(document, dict), text
        for step in steps_of(document):
            assert subprocess.run(["bash", "-n", "-c", step], check=False).returncode == 0, step
            wanted = [line for line in step.splitlines()
                      if line.startswith("kage check") and "--host" not in line]
            run = shell("\n".join(wanted), folder)
            assert run.returncode == 0, (wanted, run.stdout, run.stderr)
            ran += len(wanted)
    assert ran >= 3, f"{ran} lines of the recipes were run"
    # What is uploaded is there, and is SARIF.
    assert json.loads((folder / "kage.sarif").read_text())["version"] == "2.1.0"


def check_facts(folder):
    facts = folder / "runner.json"
    facts.write_text(blocks("ci.md", "json")[0])
    run = shell("kage check --host-facts runner.json job.kage.yaml", folder)
    assert run.returncode == 0 and "[K604]" in run.stdout, run


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_matcher(folder)
        check_toml()
        made = shell("kage init", folder)
        assert made.returncode == 0 and (folder / "job.kage.yaml").exists(), made
        check_ci(folder)
        check_facts(folder)
    print("the recipes of editors.md and ci.md read and run")


main()
