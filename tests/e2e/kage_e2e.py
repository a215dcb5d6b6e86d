"""What every end-to-end test needs: a folder, a spec, a run of the real kage on a real QEMU."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
import unittest

KAGE = os.environ.get("KAGE", os.path.join(os.path.dirname(__file__), "../../build/bin/kage"))
SLOW = float(os.environ.get("KAGE_TEST_SLOW", "1"))  # factor on waiting times
with open(KAGE, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()


def peak_kib(pid):
    """The most memory the process itself has had."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])


def qemu_children(pid):
    """The QEMU processes whose parent is `pid`."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                stat = f.read()
        except OSError:
            continue
        name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        if name.startswith("qemu-system") and int(rest[1]) == pid and rest[0] != "Z":
            found.append(int(entry))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds):
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    return condition()


class Kage(unittest.TestCase):
    """A test with a folder of its own; everything started is stopped."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kage-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(textwrap.dedent(text).lstrip("\n"))
        return path

    def spec(self, text, name="job.yaml"):
        return self.write(name, text)

    def start(self, *args, **kwargs):
        """Starts kage and returns the process; it is killed at the end if need be."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen([KAGE, *args], cwd=self.dir, **kwargs)

        def stop():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def kage(self, *args, timeout=240, **kwargs):
        process = self.start(*args, **kwargs)
        out, err = process.communicate(timeout=timeout * SLOW)
        process.out, process.err = out, err
        return process

    def apply(self, text, *args, **kwargs):
        """Runs a spec. The result file's content is in .result."""
        result = self.path("result.json")
        process = self.kage("apply", "--result", result, *args, self.spec(text), **kwargs)
        process.result = None
        if os.path.exists(result):
            with open(result) as f:
                process.result = json.load(f)
            os.unlink(result)
        return process

    def assert_code(self, process, code):
        self.assertEqual(
            process.returncode, code, f"stdout: {process.out[-2000:]!r}\nstderr: {process.err[-4000:]!r}"
        )

    def running(self, text, *args):
        """Starts a spec whose first command prints 'started'; returns (kage, QEMU's pid)."""
        process = self.start("apply", *args, self.spec(text))
        line = process.stdout.readline()
        self.assertEqual(line, b"started\n", line or process.stderr.read())
        qemu = qemu_children(process.pid)
        self.assertEqual(len(qemu), 1)
        return process, qemu[0]

    def assert_gone(self, pid, seconds=2):
        self.assertTrue(wait_until(lambda: not alive(pid), seconds), f"process {pid} is still there")


SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}
