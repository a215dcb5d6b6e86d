#!/usr/bin/python3
"""Files that mean no good, through the built `kage check`, the way it is called.

    specs.py KAGE [-v]

Every case of the YAML test suite, and bombs, floods and bytes that are no text. Each ends with exit
code 0 or 1 (2 where a file is too large to be read), never by a signal or with a sanitizer's report,
says where something is, and takes less than 100 ms of processor time; ten times that with
sanitizers. -v prints the time of each.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = b"version: 1\nimage: tiny\n"
TAIL = b"commands:\n- exec: [\"true\"]\n"
MIB = 1 << 20


def bomb(width, depth, unit=b"x", open_=b"[", close=b"]"):
    lines = [b"x-0: &a0 [" + b",".join([unit] * width) + b"]"]
    for i in range(1, depth):
        lines.append(b"x-%d: &a%d %s%s%s" % (i, i, open_, b",".join([b"*a%d" % (i - 1)] * width), close))
    return b"\n".join(lines) + b"\n"


def hostile():
    """Name and bytes of each."""
    yield "alias bomb", HEAD + bomb(10, 60) + TAIL
    yield "wide alias bomb", HEAD + bomb(900, 10) + TAIL
    yield "alias bomb in use", HEAD + bomb(10, 8) + b"commands: *a7\n"
    long = b"y" * 900000
    yield "a long text 3000 times", HEAD + b"x-a: &a \"" + long + b"\"\ncommands:\n" + b"- {run: *a}\n" * 3000
    yield "a long value 1000 times", HEAD + b"x-a: &a \"" + long[:120000] + b"\"\nenv: {" \
        + b",".join(b"V%d: *a" % i for i in range(1000)) + b"}\ncommands:\n" + b"- {run: a}\n" * 2000
    variables = b"env:\n" + b"".join(b"  V%d: %s\n" % (i, b"x" * 380) for i in range(2300))
    yield "all variables for 1000 commands", HEAD + variables + b"commands:\n" + b"- run: a\n" * 1000
    yield "and each one of its own", HEAD + variables + b"commands:\n" + b"- {run: a, env: {A: b}}\n" * 800
    matrix = b"matrix: {a: [%s], b: [%s]}\n" % ((b",".join(b"%d" % i for i in range(16)),) * 2)
    yield "256 jobs of 1000 commands", HEAD + matrix + b"commands:\n" + b"- run: a\n" * 1000
    yield "256 different jobs of 1000 commands", HEAD + matrix + b"commands:\n" \
        + b"- {run: a, env: {A: \"${matrix.a}\"}}\n" * 1000
    yield "256 different jobs of 1 MiB", HEAD + matrix + b"env: {A: \"${matrix.a}\"}\ncommands:\n" \
        + (b"- run: \"" + long[:130000] + b"\"\n") * 7
    yield "256 jobs of 1 MiB", HEAD + matrix + b"commands:\n" + (b"- run: \"" + long[:130000] + b"\"\n") * 7
    yield "merge keys", HEAD + b"x-a: &a {b: 1}\n" + b"env: {<<: [" + b"*a," * 5000 + b"]}\n" + TAIL
    yield "5000 aliases", HEAD + b"x-a: &a b\ncommands:\n" + b"- exec: [*a, *a]\n" * 1600
    yield "anchors", HEAD + b"".join(b"x-%d: &a%d 1\n" % (i, i) for i in range(9000)) + TAIL
    for name, unit in (("lists", b"["), ("maps", b"{a: "), ("block lists", b"- "), ("keys", b"? "),
                       ("quoted lists", b"[\"a\", ["), ("brackets, mixed", b"[{a: [")):
        yield f"nested {name}", HEAD + b"x-a: " + unit * (500000 // len(unit))
    yield "nested, closed", HEAD + b"x-a: " + b"[" * 200000 + b"]" * 200000 + b"\n" + TAIL
    yield "nested blocks", HEAD + b"x-a:\n" + b"".join(b" " * i + b"k:\n" for i in range(1, 1400)) + TAIL
    yield "line of 1 MiB", b"x" * MIB
    yield "quoted line of 1 MiB", HEAD + b'name: "' + b"x" * (MIB - 100) + b'"\n' + TAIL
    yield "escapes", HEAD + b'name: "' + b"\\x41" * (MIB // 4 - 100) + b'"\n' + TAIL
    yield "spaces", HEAD + b"name:" + b" " * (MIB - 100) + b"a\n" + TAIL
    yield "empty lines", HEAD + b"\n" * (MIB - 100) + TAIL
    yield "carriage returns", HEAD + b"\r" * (MIB - 100) + TAIL
    yield "tabs", HEAD + b"\t" * (MIB - 100)
    yield "tabs before keys", HEAD + b"\tname: x\n" * (MIB // 10)
    yield "dashes", b"-" * MIB
    yield "colons", HEAD + b": " * (MIB // 2 - 50)
    yield "colons without spaces", HEAD + b"a:b:c:" * (MIB // 7)
    yield "commas", HEAD + b"x-a: [" + b"," * (MIB - 100) + b"]\n"
    yield "question marks", HEAD + b"?" * (MIB - 100)
    yield "ampersands", HEAD + b"x: " + b"&" * (MIB - 100)
    yield "percent signs", b"%" * MIB
    yield "directives", b"%TAG !a! tag:a\n" * (MIB // 16) + b"---\n"
    yield "different directives", b"".join(b"%%TAG !a%d! tag:a\n" % i for i in range(45000)) + b"---\n"
    yield "quotes", HEAD + b"x: " + b"'" * (MIB - 100)
    yield "one open quote", HEAD + b'x: "' + b"a\n" * (MIB // 2 - 100)
    yield "many open quotes", HEAD + b'x: "\n' * (MIB // 7)
    yield "block text", HEAD + b"commands:\n- run: |\n" + b"    x\n" * (MIB // 6 - 50)
    yield "folded text", HEAD + b"commands:\n- run: >\n" + b"    x\n\n" * (MIB // 7 - 50)
    yield "plain text over lines", HEAD + b"name: a\n" + b"  b\n" * (MIB // 4 - 50)
    yield "keys", HEAD + b"".join(b"k%d: 1\n" % i for i in range(9000)) + TAIL
    yield "the same key", HEAD + b"name: a\n" * (MIB // 8 - 50)
    yield "variables", HEAD + b"env:\n" + b"".join(b"  V%d: x\n" % i for i in range(4900)) + TAIL
    yield "names almost known", HEAD + b"".join(b"comand%d: 1\n" % i for i in range(4900)) + TAIL
    yield "names almost known, long", HEAD + b"commands" * 100000 + b": 1\n"
    yield "flow keys", HEAD + b"env: {" + b"a: 1, " * (MIB // 6 - 50) + b"}\n"
    yield "commands", HEAD + b"commands:\n" + b"- run: make && sudo make install\n" * 3300
    yield "mounts", HEAD + TAIL + b"mounts:\n" + b"- {type: share, source: a, target: /a}\n" * 1400
    yield "shares", HEAD + TAIL + b"shares:\n" + b"".join(b"  s%d: {path: /tmp/s%d}\n" % (i, i) for i in range(3000))
    yield "users", HEAD + TAIL + b"users:\n" + b"".join(b"  u%d: {uid: %d}\n" % (i, i) for i in range(3000))
    yield "matrix", HEAD + TAIL + b"matrix:\n" + b"".join(b"  a%d: [1, 2, 3]\n" % i for i in range(2400))
    yield "huge integer", HEAD + b"timeout: " + b"9" * (MIB - 100) + b"\n" + TAIL
    yield "huge integers", HEAD + b"x-a: [" + b"9" * 60 + b"]\nmachine: {cpus: " + b"9" * 500000 + b", memory: " \
        + b"9" * 500000 + b"GiB}\n" + TAIL
    yield "huge hexadecimal", HEAD + b"machine: {cpus: 0x" + b"f" * 500000 + b"}\n" + TAIL
    yield "huge float", HEAD + b"machine: {cpus: 1e" + b"9" * 500000 + b"}\n" + TAIL
    yield "long duration", HEAD + b"timeout: " + b"1h" * 300000 + b"\n" + TAIL
    yield "documents", (HEAD + b"---\n") * 30000
    yield "empty documents", b"---\n" * (MIB // 4)
    yield "ends of documents", b"...\n" * (MIB // 4)
    yield "references", HEAD + b"env: {A: \"" + b"${" * 400000 + b"\"}\n" + TAIL
    yield "references to itself", HEAD + b"env: {A: \"" + b"${A}" * 250000 + b"\"}\n" + TAIL
    yield "closed references", HEAD + b"env: {A: \"" + b"${" * 250000 + b"}" * 250000 + b"\"}\n" + TAIL
    yield "suppressions", HEAD + b"# kage: ignore=K401\n" * (MIB // 20 - 50) + TAIL
    yield "suppressions on one line", HEAD + TAIL + b"env: {" + b"".join(b"A_SECRET%d: hunter2, " % i for i in range(4000)) \
        + b"} # kage: ignore=" + b"K404," * 150000 + b"\n"
    yield "comments of 10 MiB", b"# a comment\n" * (10 * MIB // 12) + HEAD + TAIL
    yield "one comment of 10 MiB", b"#" + b"x" * (10 * MIB) + b"\n" + HEAD + TAIL
    yield "comments of almost 1 MiB", b"# a comment\n" * (MIB // 12 - 20) + HEAD + TAIL
    yield "100 MiB", b"a: b\n" * (100 * MIB // 5)
    yield "NUL bytes", b"\0" * MIB
    yield "a NUL byte", HEAD + b"name: a\0b\n" + TAIL
    yield "an escaped NUL", HEAD + b'name: "a\\0b"\n' + TAIL
    for byte in range(256):
        yield f"byte 0x{byte:02x} in a value", HEAD + b"name: a" + bytes([byte]) + b"b\n" + TAIL
        yield f"byte 0x{byte:02x} in quotes", HEAD + b'name: "a' + bytes([byte]) + b'b"\n' + TAIL
        yield f"byte 0x{byte:02x} alone", bytes([byte])
        yield f"byte 0x{byte:02x}, 64 KiB of it", bytes([byte]) * 65536
    yield "all bytes", bytes(range(256)) * 4000
    for name, data in (("cut character", b"\xe2\x82"), ("overlong", b"\xc0\xaf"), ("surrogate", b"\xed\xa0\x80"),
                       ("past the last", b"\xf4\x90\x80\x80"), ("byte order mark inside", b"\xef\xbb\xbf"),
                       ("right to left", b"\xe2\x80\xae"), ("line separator", b"\xe2\x80\xa8"),
                       ("not a character", b"\xef\xbf\xbf"), ("beyond the first plane", b"\xf0\x9f\x98\x80")):
        yield f"UTF-8, {name}", HEAD + b"name: a" + data + b"b\n" + TAIL
        yield f"UTF-8, {name}, flood", HEAD + b"name: " + data * 100000 + b"\n" + TAIL
        yield f"UTF-8, {name}, on every line", HEAD + (b"# " + data + b"\n") * 100000 + TAIL
        yield f"UTF-8, {name}, at the end", HEAD + TAIL + b"#" + data
    text = (HEAD + TAIL).decode()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield f"in {encoding}", text.encode(encoding)
    yield "mark of UTF-16, big", b"\xfe\xff" + text.encode("utf-16-be")
    yield "mark of UTF-32, big", b"\0\0\xfe\xff" + text.encode("utf-32-be")
    yield "half a character of UTF-16", b"\xff\xfea"
    yield "two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf" + HEAD + TAIL
    yield "empty", b""
    yield "ELF", Path(sys.executable).read_bytes()[:MIB // 2]


def suite():
    for case in json.loads((ROOT / "tests/yaml-suite/cases.json").read_text()):
        yield "yaml-suite " + case["id"], case["yaml"].encode()


def run(command, path):
    """Exit status, both outputs, and the processor time of the process and what it waited for."""
    with open(path, "rb") as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_utime + usage.ru_stime


def problem_of(code, out, err, seconds, bar):
    if code not in (0, 1, 2):
        return f"ended with {code}: {err[-2000:].decode(errors='replace')}"
    if b"Sanitizer" in err or b"runtime error" in err:
        return err[-2000:].decode(errors="replace")
    if seconds > bar:
        return f"took {seconds * 1000:.0f} ms"
    if code == 2:
        return None if err.startswith(b"kage check: ") else "exit code 2, and not a word about it"
    try:
        text = out.decode()
    except UnicodeDecodeError as e:
        return f"the output is not UTF-8: {e}"
    if any(ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0 for c in text):
        return "the output holds control characters"
    findings = json.loads(text)["findings"]
    if (code == 1) != any(f["severity"] == "error" for f in findings):
        return "the exit code is not that of the findings"
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kage, loud = str(Path(sys.argv[1]).resolve()), "-v" in sys.argv
    with open(kage, "rb") as f:
        bar = 1.0 if b"__asan_init" in f.read() else 0.1
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=1"
    bad = n = 0
    slowest = (0, "")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = Path(folder) / "hostile.yaml"
        for name, data in [*suite(), *hostile()]:
            path.write_bytes(data)
            once = run([kage, "check", "--no-config", "--format=json", "-"], path)
            if once[3] > bar:  # the first of its kind on a busy machine
                once = min(once, run([kage, "check", "--no-config", "--format=json", "-"], path),
                           key=lambda r: r[3])
            why = problem_of(*once, bar)
            n += 1
            slowest = max(slowest, (once[3], name))
            bad += why is not None
            if why or loud:
                print(f"{name}: {why or f'{once[0]}, {once[3] * 1000:.0f} ms'}", flush=True)
    print(f"{n} files, {bad} bad; the slowest took {slowest[0] * 1000:.0f} ms ({slowest[1]})")
    sys.exit(bad > 0)


main()
