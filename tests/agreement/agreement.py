#!/usr/bin/python3
"""The schema and kage agree: whatever happens to a valid spec, the schema turns it down exactly
when `kage check` reports a finding 2xx.

    agreement.py KAGE [SPEC]...

Every field of every spec is deleted, renamed, given a value of each other type, one beyond each
bound, and a word that is none; every map gets an unknown key. The judge of the schema is
python3-jsonschema, which has nothing in common with kage.

Mutants are written as JSON, so that no YAML reader's idea of a plain scalar is in the way, and
K115 (null) counts as 2xx: to a schema null is a value of the wrong type. What a schema cannot
know is not asked: the value of a ${...}, and whether 1.0 is an integer.
"""
import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"skipped: {missing} (apt-get install python3-jsonschema python3-yaml)")
    sys.exit(77)

BATCH = 40  # files for one run of kage
KEEP = 1000  # findings that one run reports


class Core(yaml.SafeLoader):
    """Plain scalars as YAML 1.2 has them."""


Core.yaml_implicit_resolvers = {}
for tag, regex, first in [
    ("bool", r"^(?:true|false)$", "tf"),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?[0-9]+\.[0-9]+$", "-0123456789"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
]:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(regex), list(first))


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], path + (key,))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, path + (i,))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def with_value(spec, path, value):
    spec = copy.deepcopy(spec)
    at(spec, path[:-1])[path[-1]] = value
    return spec


def without(spec, path):
    spec = copy.deepcopy(spec)
    del at(spec, path[:-1])[path[-1]]
    return spec


def renamed(spec, path, key):
    spec = copy.deepcopy(spec)
    parent = at(spec, path[:-1])
    items = [(key if k == path[-1] else k, v) for k, v in parent.items()]
    parent.clear()
    parent.update(items)
    return spec


OTHERS = [
    "text", "", "two words", "No-Name", "bogus", "7", "true", "on", "10m", "512MiB", "/a/path",
    "8080:80", "https://example.org/x", "${HOME}", "-", "a/../b", "é", "sha256:" + "0" * 64,
    0, 1, 7, -1, 128, 65534, 1.5, True, False, None, [], ["text"], [7], [None], {}, {"a": "b"},
    [{}], {"text": {}}, [[]],
]
NUMBERS = [0, 1, 2, 10, 11, 63, 64, 65, 255, 256, 512, 32767, 32768, 32769, 65533, 65534, 65535,
           65536, -1, 2**31, 2**63, 2**64]
TEXTS = [
    "127MiB", "128MiB", "129MiB", "131071KiB", "131072KiB", "0GiB", "1GiB", "1024GiB", "1025GiB",
    "1048576MiB", "1048577MiB", "15MiB", "16MiB", "16384GiB", "16385GiB", "3KiB", "4KiB", "1KiB",
    "1023MiB", "999999999KiB", "1000000000KiB", "01GiB", "1.5GiB", "1GB", "1 GiB", "512", "512m",
    "1s", "0s", "1h30m", "30m1h", "1m1m", "1d", "90", "1h1m1s1ms", "1.5h", "1000000000s", "s",
    "1:1", "0:80", "80:0", "65535:65535", "65536:1", "1:65536", "080:80", "1.2.3.4:1:2",
    "1.2.3.256:1:2", "01.2.3.4:1:2", "1.2.3:1:2", "8080:80/udp", "8080:80/tcp", "8080:80/sctp",
    "a" * 32, "a" * 33, "a" * 63, "a" * 64, "A", "_a", "-a", "a.b", "a_b", "A_B", "1a", "a b",
    "http://", "http:///x", "http://a b", "ftp://a/b", "https://a", "https://a/{b}", "http://a~/_",
    "host", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00.5+01:00",
    "2026-01-31", "sh", "bash", "zsh", "/bin/zsh", "/", "//", "/a/", "relative", "$X", "$${X}",
]


def mutants(spec):
    for path in places(spec):
        value = at(spec, path)
        if isinstance(value, dict):
            yield path, "unknown key", with_value(spec, path + ("unknown-key",), 1) if path else {
                **spec, "unknown-key": 1}
            yield path, "x- key", with_value(spec, path + ("x-key",), None) if path else {
                **spec, "x-key": None}
        if not path:
            continue
        yield path, "deleted", without(spec, path)
        if isinstance(path[-1], str):
            for key in (path[-1] + "z", path[-1].upper(), "", "9", "a b", "exclude"):
                if key not in at(spec, path[:-1]):
                    yield path, f"renamed {key!r}", renamed(spec, path, key)
        values = OTHERS + (NUMBERS if type(value) is int else [])
        values += TEXTS if isinstance(value, str) else []
        for other in values:
            if other != value or type(other) is not type(value):
                yield path, f"as {other!r}", with_value(spec, path, other)


def python_regexes(schema):
    """`$` of ECMA 262 is the very end; Python's lets a line feed follow."""
    if isinstance(schema, dict):
        return {k: re.sub(r"\$(?=$|\|\(\?:\^\|)", r"\\Z", v) if k == "pattern" and v is not None
                and isinstance(v, str) else python_regexes(v) for k, v in schema.items()}
    if isinstance(schema, list):
        return [python_regexes(item) for item in schema]
    return schema


def judge(kage, folder, batch):
    names = []
    for i, (_, _, mutant) in enumerate(batch):
        names.append(folder / f"{i}.yaml")
        names[-1].write_text(json.dumps(mutant, ensure_ascii=False) + "\n", "utf-8")
    run = subprocess.run([kage, "check", "--no-config", "--format=json", *map(str, names)],
                         capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1) or run.stderr:
        sys.exit(f"kage ended with {run.returncode}: {run.stderr}")
    result = json.loads(run.stdout)
    if len(result["findings"]) >= KEEP:
        sys.exit("too many findings for one run; make BATCH smaller")
    found = [[] for _ in names]
    for finding in result["findings"]:
        found[int(Path(finding["file"]).stem)].append(finding)
    return found


def is_shape(finding):
    return finding["code"][:2] == "K2" or finding["code"] == "K115"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kage = sys.argv[1]
    root = Path(__file__).resolve().parents[2]
    specs = sys.argv[2:] or sorted(
        [*root.glob("specs/*.yaml"), *root.glob("tests/golden/check/ok-*.yaml"),
         *root.glob("tests/agreement/*.yaml")])
    schema = json.loads(subprocess.run([kage, "schema"], capture_output=True, check=True).stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(python_regexes(schema))
    seen, count, rejected, wrong = set(), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for file in specs:
            spec = yaml.load(Path(file).read_text("utf-8-sig"), Core)
            batch = []
            todo = []
            for mutant in [((), "as it is", spec), *mutants(spec)]:
                text = json.dumps(mutant[2], sort_keys=False)
                if text not in seen:
                    seen.add(text)
                    todo.append(mutant)
            for start in range(0, len(todo), BATCH):
                batch = todo[start:start + BATCH]
                for (path, what, mutant), found in zip(batch, judge(kage, folder, batch)):
                    by_kage = [f for f in found if is_shape(f)]
                    by_schema = next(validator.iter_errors(mutant), None)
                    count += 1
                    rejected += bool(by_schema)
                    if what == "as it is" and (by_kage or by_schema):
                        print(f"{file} is not valid: {by_kage} {by_schema}")
                        wrong += 1
                    if bool(by_kage) == bool(by_schema):
                        continue
                    wrong += 1
                    if wrong <= 30:
                        where = "/".join(map(str, path))
                        print(f"{Path(file).name}: {where} {what}: "
                              + (f"kage says {by_kage[0]['code']} {by_kage[0]['message']}"
                                 if by_kage else "kage takes it")
                              + ", the schema " + (f"turns it down: {by_schema.message[:120]}"
                                                   if by_schema else "takes it"))
    print(f"{len(specs)} specs, {count} mutants, {rejected} turned down, {wrong} judged differently")
    return 1 if wrong else 0


sys.exit(main())
