#!/usr/bin/python3
"""The formats that other programs read, read as these programs read them.

    formats.py KAGE

SARIF by the rules GitHub's documentation states for code scanning, and by the schema of OASIS where
SARIF_SCHEMA names a copy of it and python3-jsonschema is here. Workflow commands by undoing what
actions/toolkit does. Names are full of what either has to escape.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

SPEC = """version: 1
image: tiny
network: {forward: [22:22]}
shares: {"a, b:c%d": {path: .}, src: {path: .}}
env:
  "x%0A::error::y": 1
  "two\\nlines, and more: %25": 2
commands:
  - run: make | tee log
  - run: make | tee log
"""
NAME = "odd %0A name, with:all.yaml"


def kage(program, folder, *args):
    run = subprocess.run([program, "check", "--no-config", *args], cwd=folder, capture_output=True,
                         text=True, check=False)
    assert run.returncode in (0, 1) and not run.stderr, run
    return run.stdout


def check_github(text, findings):
    lines = text.splitlines()
    assert len(lines) == len(findings), (lines, findings)
    rank = {"error": 0, "warning": 1, "notice": 2}
    seen = []
    for line in lines:
        command, properties, message = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line).groups()
        fields = dict(p.split("=", 1) for p in properties.split(","))
        undo = lambda s: (s.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":")
                          .replace("%2C", ",").replace("%25", "%"))
        assert undo(fields["file"]) == NAME, fields
        assert rank[command] >= (seen[-1][0] if seen else 0), "most severe first"
        seen.append((rank[command], fields["title"], int(fields["line"]), int(fields["col"]),
                     undo(message).split("\nhelp: ")[0]))
    wanted = sorted((rank[f["severity"].replace("note", "notice")], f["code"], f["line"], f["column"],
                     f["message"]) for f in findings)
    assert sorted(seen) == wanted, (seen, wanted)


def check_sarif(text, findings):
    log = json.loads(text)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    assert len(text.encode()) < 10 * 1024 * 1024
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "kage" and re.fullmatch(r"\d+\.\d+\.\d+", driver["semanticVersion"])
    assert run["columnKind"] == "unicodeCodePoints"
    for rule in driver["rules"]:
        assert re.fullmatch(r"K\d{3}", rule["id"])
        for key, limit in (("shortDescription", 1024), ("fullDescription", 1024)):
            assert 0 < len(rule[key]["text"]) <= limit, rule
        assert rule["help"]["text"] and "```yaml" in rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
        properties = rule["properties"]
        assert properties["problem.severity"] in ("recommendation", "warning", "error")
        assert properties["precision"] in ("low", "medium", "high", "very-high")
        assert 0 < len(properties["tags"]) <= 20
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert len(run["results"]) == len(findings)
    prints = set()
    for result, finding in zip(run["results"], findings):
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == finding["code"]
        assert result["level"] == finding["severity"]
        assert result["message"]["text"].startswith(finding["message"])
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert urllib.parse.unquote(uri) == NAME and not re.search(r"[ :,]", uri), uri
        region = location["physicalLocation"]["region"]
        assert region == {"startLine": finding["line"], "startColumn": finding["column"],
                          "endLine": finding["line"], "endColumn": finding["end_column"]}
        prints.add(result["partialFingerprints"]["primaryLocationLineHash"])
        assert ("fixes" in result) == ("fix" in finding)
        for fix in result.get("fixes", []):
            (change,) = fix["artifactChanges"]
            assert change["artifactLocation"]["uri"] == uri
            assert [r["insertedContent"]["text"] for r in change["replacements"]] == [
                e["text"] for e in finding["fix"]]
    assert len(prints) == len(findings), "fingerprints tell all findings apart"
    if os.environ.get("SARIF_SCHEMA"):
        import jsonschema
        schema = json.loads(Path(os.environ["SARIF_SCHEMA"]).read_text("utf-8"))
        jsonschema.Draft7Validator(schema).validate(log)
        print("valid by the schema of OASIS")
    return prints


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / NAME
        spec.write_text(SPEC, "utf-8")
        findings = json.loads(kage(program, folder, "--format=json", "--notes", NAME))["findings"]
        assert {f["code"] for f in findings} >= {"K105", "K209", "K303", "K409", "K502", "K503"}, findings
        check_github(kage(program, folder, "--format=github", "--notes", NAME), findings)
        # a folder's files are called as the paths of a change are
        check_github(kage(program, folder, "--format=github", "--notes", "."), findings)
        before = check_sarif(kage(program, folder, "--format=sarif", "--notes", NAME), findings)
        # a fingerprint survives lines that are added above
        spec.write_text("# a comment\n\n" + SPEC, "utf-8")
        findings = json.loads(kage(program, folder, "--format=json", "--notes", NAME))["findings"]
        assert check_sarif(kage(program, folder, "--format=sarif", "--notes", NAME), findings) == before
    print("ok")


main()
