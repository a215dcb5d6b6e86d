#!/usr/bin/env python3
"""How much of what can be wrong does `kage check` find, and how much of that does it mend?

    recall.py KAGE [-v]

Thirty valid specs of different looks get one mistake at a time. Each must be found under its code
at its very line and column, and those with a certain cure must be clean after --fix. The specs
themselves must be clean before. At least 99 % found and 95 % mended is the bar; what is missed is
listed. And each example of the registry must show its code when it is wrong, and not when it is
right.
"""
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SPECS = 30
BATCH = 30
HERE = "¦"  # stands in a replacement where the finding must be

WORDS = "alpha beta gamma delta build smoke soak unit fuzz".split()


def block_or_flow(rng, key, fields, indent="", flow=None):
    """`key: {a: 1}` or the same in lines."""
    if flow if flow is not None else rng.random() < 0.5:
        return [f"{indent}{key}: {{{', '.join(f'{k}: {v}' for k, v in fields)}}}"]
    return [f"{indent}{key}:"] + [f"{indent}  {k}: {v}" for k, v in fields]


def spec(seed):
    rng = random.Random(seed)
    word = rng.choice(WORDS)
    dash = rng.choice(["- ", "  - "])
    deep = " " * len(dash)
    sections = [
        [f"name: {word}-{seed}"],
        ["image: tiny"],
        block_or_flow(rng, "machine", [("arch", "x86_64"), ("cpus", rng.randint(1, 8)),
                                       ("memory", "1GiB"),
                                       ("clock", '"2026-01-31T12:00:00Z"')]),
        block_or_flow(rng, "network", [("outbound", "on"), ("forward", '["8080:80"]')]),
        ["host-env: [RECALL_X, RECALL_UNSET, RECALL_KEY]"],
        ["shares:"] + block_or_flow(rng, "src", [("path", "project")], "  ", rng.random() < 0.7)
        + block_or_flow(rng, "out", [("path", "out"), ("writable", "true")], "  "),
        ["mounts:", f"{dash}{{type: share, source: src, target: /src}}",
         f"{dash}{{type: share, source: out, target: /out}} # é, 日本",
         f"{dash}{{type: tmpfs, target: /work/tmp, size: 64MiB}} # the last one"],
        ["users:"] + block_or_flow(rng, "tester", [("uid", 1000 + seed)], "  "),
        ["secrets: {KEY: {env: RECALL_KEY}}"],
        block_or_flow(rng, "env", [("TZ", "UTC"), ("GREETING", rng.choice(['"grüß dich"', "hi"]))]),
        block_or_flow(rng, "defaults", [("user", "tester"), ("cwd", "/src"), ("timeout", "5m")]),
        ["commands:",
         f"{dash}run: make check",
         f"{dash}id: first", f"{deep}exec: [tool, --flag, \"${{RECALL_X}}\"]",
         f"{deep}continue-on-error: true", f"{deep}cwd: /work",
         f"{dash}name: clean up", f"{deep}when: on-failure", f"{deep}user: root", f"{deep}run: |",
         f"{deep}  ls -l", f"{deep}  dmesg"],
        ["timeout: 30m"],
        ["artifacts:", f"{dash}{{path: /work/junit.xml, to: results/}} # the artifact"],
    ]
    for i in range(rng.randint(0, 3)):
        sections[11] += [f"{dash}run: echo {i}"]
    head, rest = [["# a spec, number %d" % seed, "version: 1"]], sections
    if rng.random() < 0.5:
        rng.shuffle(rest)
    blank = rng.random() < 0.5
    lines = []
    for section in head + rest:
        lines += section + ([""] if blank else [])
    return "\n".join(lines).rstrip("\n") + "\n", dash


def traps(dash):
    """(code, whether the cure is certain, what is replaced, by what): the first match counts."""
    deep = " " * len(dash)
    mount = r"( # the last one\n)"
    run = r"run: make check"
    env = r"GREETING: (?:\"[^\"]*\"|hi)"
    image = r"image: tiny"
    bomb = "x-a: &a [" + ", ".join("1" * 94) + "]\nx-b: &b [" + ", ".join(["*a"] * 100) + "]\nx-c: [¦*b]\n"
    token = "ghp_" + "0aB1cD2eF3" * 4
    end = r"\Z"
    return [
        ("K101", True, r"\n  (?=\w)", "\n¦\t"),
        ("K102", False, r"\nversion: 1\n", "\nversion: 1\n¦version: 1\n"),
        ("K103", True, r"continue-on-error: true", "continue-on-error: ¦yes"),
        ("K103", True, r"\nname: \S+", "\nname: ¦no"),
        ("K103", True, r"writable: true", "writable: ¦On"),
        ("K104", True, r"uid: (\d+)", r"uid: ¦0\1"),
        ("K105", True, r'"8080:80"', "¦22:22"),
        ("K106", False, r"machine: \{|machine:\n  ", r"\g<0>¦<<: *nothing"),
        ("K107", False, r"cwd: /work", "cwd: ¦*nowhere"),
        ("K108", False, end, bomb),
        ("K109", False, end, "¦---\nversion: 1\n"),
        ("K110", True, r"\nname: ", "\nname: ¦!!str "),
        ("K111", False, r"\nname: ", "\nname: ¦\x07"),
        ("K112", False, end, "x-deep: " + "[" * 31 + "¦[" + "]" * 32 + "\n"),
        ("K113", True, r"exec: \[tool", "exec: [tool, ¦${RECALL_X}"),
        ("K114", True, r"cpus: (\d)", r"¦cpus:\1"),
        ("K114", True, r"cwd: /work", "¦cwd:/work"),
        ("K115", False, r"\ntimeout: 30m", "\n¦timeout:"),
        ("K116", False, image, "image: ¦&img tiny"),
        ("K201", True, r"memory: ", "¦memroy: "),
        ("K201", True, r"\ncommands:", "\n¦comands:"),
        ("K201", True, r"continue-on-error: ", "¦continue-on-eror: "),
        ("K201", False, r"\nversion: 1\n", "\nversion: 1\n¦nonsense: 1\n"),
        ("K202", True, r"\A(.*\n)version: 1\n", r"¦\1"),
        ("K202", False, r"\A(.*\n[\s\S]*)image: tiny\n", r"¦\1"),
        ("K203", True, r"cpus: (\d)", r'cpus: ¦"\1"'),
        ("K203", True, r"\nname: \S+", "\nname: ¦12"),
        ("K203", True, r"id: first", "id: ¦1.5"),
        ("K203", False, r"\nhost-env: \[.*\]", "\nhost-env: ¦{RECALL_X: 1}"),
        ("K204", False, run, f"run: make check\n{deep}¦exec: [make]"),
        ("K205", True, r"arch: x86_64", "arch: ¦amd64"),
        ("K205", True, r"when: on-failure", "when: ¦failure"),
        ("K205", True, r"type: tmpfs", "type: ¦tmpf"),
        ("K205", False, r"when: on-failure", "when: ¦sometimes"),
        ("K206", True, r"timeout: 5m", "timeout: ¦5 minutes"),
        ("K206", True, r"timeout: 30m", "timeout: ¦0.5h"),
        ("K206", False, r"timeout: 30m", "timeout: ¦30"),
        ("K207", True, r"memory: 1GiB", "memory: ¦512M"),
        ("K207", True, r"memory: 1GiB", "memory: ¦1.5 GB"),
        ("K207", True, r"size: 64MiB", "size: ¦67108864"),
        ("K207", False, r"memory: 1GiB", "memory: ¦512"),
        ("K208", False, r"cpus: \d", "cpus: ¦0"),
        ("K208", False, r"memory: 1GiB", "memory: ¦127MiB"),
        ("K209", True, r"\nname: \S+", "\nname: ¦My Job"),
        ("K209", False, r"id: first", "id: ¦the first"),
        ("K210", False, r"version: 1\n", "version: ¦2\n"),
        ("K210", True, r"version: 1\n", 'version: ¦"1"\n'),
        ("K211", True, r"\nenv:", "\n¦environment:"),
        ("K211", True, r"cwd: /work", "¦working_dir: /work"),
        ("K211", True, run, "¦script: make check"),
        ("K211", True, run, f"run: make check\n{deep}¦timeout-minutes: 3"),
        ("K211", True, run, f"run: make check\n{deep}¦if: ${{{{ always() }}}}"),
        ("K211", True, run, "¦command: make check"),
        ("K211", False, r"\nmounts:", "\n¦volumes: []\nmounts:"),
        ("K213", False, r'"8080:80"', '¦"8080"'),
        ("K213", False, r"cwd: /work", "cwd: ¦work"),
        ("K301", True, r"user: tester", "user: ¦testr"),
        ("K301", False, r"user: tester", "user: ¦somebody"),
        ("K302", True, r"source: out", "source: ¦otu"),
        ("K302", True, run, f"run: make check\n{deep}secrets: [¦KYE]"),
        ("K303", False, r"\nshares:", "\nshares:\n  ¦unused: {path: .}"),
        ("K304", False, r"target: /work/tmp", "target: ¦work/tmp"),
        ("K304", True, r"target: /work/tmp", "target: ¦/work//tmp/"),
        ("K305", False, mount, rf"\1{dash}{{type: tmpfs, target: ¦/work/tmp}}\n"),
        ("K306", False, mount, rf"\1{dash}{{type: tmpfs, target: ¦/work}}\n"),
        ("K307", False, r"path: project", "path: ¦no/such/folder"),
        ("K308", False, r"path: project", "path: ¦.."),
        ("K309", False, r"target: /src\}", "target: /src, writable: ¦true}"),
        ("K310", False, r"\nusers:", "\nusers:\n  a: {uid: 77}\n  b: {uid: ¦77}"),
        ("K311", False, r'"8080:80"', '"8080:80", ¦"8080:81"'),
        ("K312", False, env, 'GREETING: "ü ¦${NOT_LISTED}"'),
        ("K313", False, env, 'GREETING: "¦${matrix.none}"'),
        ("K314", False, end, "matrix:\n  ¦a: [" + ", ".join(map(str, range(300))) + "]\n"),
        ("K315", False, run, f"run: make check\n{deep}id: first".replace("make check\n", "make\n")),
        ("K316", False, run, f"run: make check\n{deep}¦ready: {{tcp: 1}}"),
        ("K317", False, run, f"run: make check\n{deep}background: ¦true"),
        ("K318", False, run, f"run: make check\n{deep}timeout: ¦2h"),
        ("K318", False, run, f"run: make check\n{deep}background: true\n{deep}ready: {{tcp: 1, timeout: ¦31m}}"),
        ("K319", False, r"path: /work/junit.xml", "path: ¦/src/junit.xml"),
        ("K320", False, None, None),
        ("K321", False, env, 'GREETING: "¦${RECALL_UNSET}"'),
        ("K322", False, env, 'GREETING: "¦${A+1}"'),
        ("K323", False, r"target: /work/tmp", "target: ¦/proc"),
        ("K324", False, r"target: /work/tmp", "target: ¦/usr"),
        ("K325", False, r"to: results/", "to: ¦../results/"),
        ("K326", False, end, f"matrix:\n  a: [1, 2]\n  exclude:\n    - ¦{{a: 3}}\n"),
        ("K327", False, r"( # the artifact\n)", rf"\1{dash}{{path: /work/x/junit.xml, to: ¦results/}}\n"),
        ("K329", False, run, f"run: make check\n{deep}checkpoint: ¦true"),
        ("K330", False, run, f"run: make check\n{deep}inputs: [¦nowhere]"),
        ("K331", False, run, f"run: make check\n{deep}¦inputs: [project]"),
        ("K332", False, run, f"run: make check\n{deep}secrets: [KEY]\n{deep}inputs: []\n{deep}checkpoint: ¦true"),
        ("K401", False, image, '¦image: {url: "https://example.org/a.qcow2"}'),
        ("K402", True, image, f'image: {{url: "https://example.org/a.qcow2", digest: ¦sha256:{"AB" * 32}}}'),
        ("K402", True, image, f'image: {{url: "https://example.org/a.qcow2", digest: ¦{"ab" * 32}}}'),
        ("K402", False, image, 'image: {url: "https://example.org/a.qcow2", digest: ¦sha256:abc}'),
        ("K403", False, image, f'¦image: {{url: "http://example.org/a.qcow2", digest: sha256:{"ab" * 32}}}'),
        ("K404", False, env, f"GREETING: ¦{token}"),
        ("K405", False, r"--flag", '"¦${RECALL_KEY}"'),
        ("K406", False, r"\nshares:", "\nshares:\n  repo: {path: repo, writable: ¦true}"),
        ("K407", False, None, None),
        ("K408", False, run, f"run: make check\n{deep}sandbox: ¦none"),
        ("K409", False, None, None),
        ("K410", False, r'"8080:80"', '¦"0.0.0.0:8080:80"'),
        ("K501", False, None, None),
        ("K502", False, None, None),
        ("K503", False, run, "run: make check | ¦tee log"),
        ("K504", False, r"exec: \[tool, ", '¦exec: [tool, "&&", '),
        ("K504", True, r"exec: \[tool, .*\]", '¦exec: ["make all"]'),
        ("K505", False, run, "run: ¦make check &"),
        ("K506", False, run, "run: ¦sudo make check"),
        ("K507", False, run, "run: ¦source env; make check"),
        ("K507", False, r"(\n *)dmesg", r"\1x=1; ¦[[ $x == 1 ]]"),
        ("K508", True, run, 'run: ¦"make\\\\r\\\\nmake check"'),
        ("K509", False, run, f"run: make check\n{deep}retries: ¦2"),
        ("K901", True, image, "image: tiny # kage: ignore=¦K401 -- not any more"),
    ]


def without_network(text):
    return re.sub(r"network:(?: \{.*\}|(?:\n  \w+: .*)+)", "network: off", text)


def special(code, text, dash):
    """Mistakes that are more than one replacement."""
    deep = " " * len(dash)
    if code == "K320":
        return without_network(text).replace("run: make check", f"run: make check\n{deep}network: ¦on", 1)
    if code == "K407":
        return re.sub(r"user: tester", "user: root", text).replace("  tester:", "  ¦tester:")
    if code == "K409":
        text = re.sub(r"(, |\n  )clock: \"[^\"]*\"", "", text)
        return text.replace("\ncommands:", "\n¦commands:")
    if code == "K501":
        return without_network(text).replace("run: make check", "run: ¦apt-get install -y gcc", 1)
    if code == "K502":
        text = re.sub(r"(, |\n  )timeout: 5m", "", text)
        return text.replace("run: make check", "¦run: make check", 1)
    raise KeyError(code)


def inject(code, pattern, replacement, text, dash):
    if pattern is None:
        marked = special(code, text, dash)
    elif code == "K315":
        if text.index("id: first") < text.index("run: make check"):
            return None
        marked = re.sub(pattern, replacement, text, count=1)
        at = marked.index("id: first", marked.index("id: first") + 1) + 4
        marked = marked[:at] + HERE + marked[at:]
    elif code == "K106":
        marked = re.sub(pattern, replacement, text, count=1)
        flow = "machine: {" in text
        marked = marked.replace("¦<<: *nothing", "¦<<: *some" + (", " if flow else "\n  "))
        marked = marked.replace("version: 1\n", "version: 1\nx-some: &some {A: b}\n", 1)
    else:
        marked, n = re.subn(pattern, replacement, text, count=1)
        assert n == 1, (code, pattern, text)
    assert marked.count(HERE) == 1, (code, marked)
    before = marked[:marked.index(HERE)].split("\n")
    return marked.replace(HERE, ""), len(before), len(before[-1]) + 1


def check(kage, folder, files, *options):
    found = {}
    for start in range(0, len(files), BATCH):
        names = [str(f) for f in files[start:start + BATCH]]
        run = subprocess.run([kage, "check", "--no-config", "--format=json", *options, *names],
                             cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode not in (0, 1):
            sys.exit(f"kage ended with {run.returncode}: {run.stderr}")
        for finding in json.loads(run.stdout)["findings"]:
            found.setdefault(finding["file"], []).append(finding)
    return found


def describe(finding):
    return f"{finding['line']}:{finding['column']} {finding['code']} {finding['message']}"


def check_examples(kage, folder):
    """Each example of the registry, completed to a spec where it is a part of one."""
    pages = subprocess.run([kage, "explain", "--markdown"], capture_output=True, text=True, check=True)
    wrong = 0
    # schematic, or in need of bytes that a page cannot show
    skip = {"K108", "K111", "K112", "K314"}
    for code, bad, good in re.findall(r"### (K\d+)\n.*?```yaml\n(.*?)```\n\nRight:\n\n```yaml\n(.*?)```",
                                      pages.stdout, re.S):
        if code in skip or code.startswith("K6"):  # those show on another machine
            continue
        good = good.replace("<64 hex digits>", "ab" * 32)
        shown = [[code in {f["code"] for f in
                           check(kage, folder, [complete(folder, text)], "--notes").get("x.yaml", [])}
                  for text in completions(example)] for example in (bad, good)]
        if not any(shown[0]):
            print(f"the wrong example of {code} does not show it:\n{bad}")
        elif shown[1][shown[0].index(True)]:
            print(f"the right example of {code} shows it:\n{good}")
        else:
            continue
        wrong += 1
    return wrong


def completions(example):
    """A snippet is a part of a job, a command, a machine or a user."""
    job = example
    for line in ("version: 1", "image: tiny", "commands:\n  - {timeout: 1m, run: make}"):
        if not re.search("^" + line.split(":")[0] + ":", example, re.M):
            job += line + "\n"
    yield job
    part = "".join("    " + line + "\n" for line in example.splitlines())
    yield "version: 1\nimage: tiny\ncommands:\n  - id: part\n" + (
        "" if re.search(r"^(run|exec):", example, re.M) else "    run: make\n") + part
    yield "version: 1\nimage: tiny\nusers:\n  tester:\n" + part + (
        "" if "uid" in example else "    uid: 1000\n") + "commands:\n  - {user: tester, run: make}\n"
    yield "version: 1\nimage: tiny\nnetwork:\n" + part + "commands:\n  - run: make\n"


def complete(folder, text):
    (folder / "x.yaml").write_text(text, "utf-8")
    return Path("x.yaml")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kage = str(Path(sys.argv[1]).resolve())
    verbose = "-v" in sys.argv
    os.environ.update(RECALL_X="x", RECALL_KEY="k", CI_TOKEN="t", GIT_COMMIT="1", GH_TOKEN="g")
    for name in ("RECALL_UNSET", "DIR"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ("project", "out", "repo/.git", "build", ".git"):
            (folder / name).mkdir(parents=True)
        cases, names = [], []
        for seed in range(SPECS):
            text, dash = spec(seed)
            newline = "\r\n" if seed % 10 == 9 else "\n"
            (folder / f"{seed}.yaml").write_bytes(text.replace("\n", newline).encode())
            names.append(f"{seed}.yaml")
            for number, (code, certain, pattern, replacement) in enumerate(traps(dash)):
                made = inject(code, pattern, replacement, text, dash)
                if not made:
                    continue
                mutant, line, col = made
                name = f"{seed}-{number}.yaml"
                (folder / name).write_bytes(mutant.replace("\n", newline).encode())
                cases.append((name, code, certain, line, col))
        dirty = check(kage, folder, names, "--notes")
        for name, findings in dirty.items():
            print(f"{name} is not clean: {'; '.join(map(describe, findings))}")
        found = check(kage, folder, [c[0] for c in cases], "--notes")
        missed = []
        for name, code, _, line, col in cases:
            here = found.get(name, [])
            if not any((f["code"], f["line"], f["column"]) == (code, line, col) for f in here):
                missed.append(name)
                if verbose or len(missed) <= 10:
                    print(f"{name}: {code} is not at {line}:{col} but: "
                          f"{'; '.join(map(describe, here)) or 'nothing'}")
                    print("    " + (folder / name).read_text("utf-8").splitlines()[line - 1][:100])
        certain = [c for c in cases if c[2]]
        before = {c[0]: (folder / c[0]).read_text("utf-8") for c in certain}
        for name, *_ in certain:
            subprocess.run([kage, "check", "--no-config", "--fix", "-q", name], cwd=folder,
                           capture_output=True, check=False)
        after = check(kage, folder, [c[0] for c in certain])
        unmended = []
        for name, code, _, line, _ in certain:
            text = (folder / name).read_text("utf-8")
            # the comments that were there are there still
            lost = [c for c in re.findall(r"#.*", before[name])
                    if c not in text and "kage: ignore" not in c]
            left = [f for f in after.get(name, []) if f["code"] != "K401"]
            if left or lost:
                unmended.append(name)
                if verbose or len(unmended) <= 10:
                    print(f"{name}: {code} is left as it was: {'; '.join(map(describe, left))} {lost}")
        examples = check_examples(kage, folder)
    recall = 100 * (len(cases) - len(missed)) / len(cases)
    mended = 100 * (len(certain) - len(unmended)) / len(certain)
    codes = len({c[1] for c in cases})
    print(f"{SPECS} specs, {codes} codes, {len(cases)} mistakes: {recall:.2f} % found in place; "
          f"{len(certain)} certain: {mended:.2f} % mended; {len(dirty)} false alarms; "
          f"{examples} examples wrong")
    return 0 if recall >= 99 and mended >= 95 and not dirty and not examples else 1


sys.exit(main())
