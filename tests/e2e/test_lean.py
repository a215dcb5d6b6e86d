"""The lean kernel. Compiling it takes ten minutes, so this is skipped unless it lies in the cache already
(`kage image build --kernel lean`) or KAGE_TEST_LEAN=1 says to take the time."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import test_images
from kage_e2e import KAGE, SLOW, Kage

BUILDER = os.path.join(os.path.dirname(KAGE), "../share/kage/image-builder")


def kage(*args, timeout=600):
    return subprocess.run([KAGE, *args], capture_output=True, timeout=timeout * SLOW, check=False)


def cached():
    """The folder of a lean kernel that this kage would take."""
    recipe = hashlib.sha256()
    for name in ("build-kernel", "lean.config", "unpack-kernel"):
        with open(os.path.join(BUILDER, name), "rb") as f:
            recipe.update(f.read())
    root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kage/lean")
    for name in os.listdir(root) if os.path.isdir(root) else ():
        if name.endswith("-" + recipe.hexdigest()[:16]):
            return os.path.join(root, name)
    return None


def setUpModule():
    """A cache of its own, as what is built here becomes what images boot with."""
    found = cached()
    if not found and os.environ.get("KAGE_TEST_LEAN") != "1":
        raise unittest.SkipTest("no lean kernel is cached; KAGE_TEST_LEAN=1 compiles one")
    folder = tempfile.mkdtemp(prefix="kage-lean-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    before = os.environ.get("XDG_CACHE_HOME")
    unittest.addModuleCleanup(lambda: os.environ.update({"XDG_CACHE_HOME": before or ""}))
    os.environ["XDG_CACHE_HOME"] = folder
    if found:
        shutil.copytree(found, os.path.join(folder, "kage/lean", os.path.basename(found)))
        # Of the version at hand; `image build` would go for the newest.
        p = subprocess.run([KAGE, "apply", "--kernel", "lean", "-"], input=HELLO.encode(), capture_output=True, check=False)
        assert p.returncode == 0, p.stderr
        with open(os.path.join(folder, "kage/own-kernel"), "w") as f:
            f.write("lean\n")
    else:
        p = kage("image", "build", "--kernel", "lean", timeout=3600)
        assert p.returncode == 0, p.stderr


HELLO = """
    version: 1
    image: tiny
    commands: [{exec: [uname, -r]}]
"""


class Lean(Kage):
    def test_listed(self):
        shown = kage("image", "ls").stdout.decode()
        self.assertRegex(shown, r"(?m)^\* tiny-lean-[0-9a-f]{16} .* lean +linux-source-6\.1=")
        shown = kage("image", "inspect", "tiny").stdout.decode()
        self.assertIn("boots     the lean kernel\n", shown)
        manifest = json.loads(kage("image", "inspect", "--json", "tiny").stdout)
        self.assertEqual(manifest["boots"], "lean")

    def test_what_was_asked_for_is_on(self):
        """The builder refuses a configuration with less; this is the one that boots."""
        with open(os.path.join(cached(), "config")) as f:
            got = set(f.read().splitlines())
        with open(os.path.join(BUILDER, "lean.config")) as f:
            asked = [line for line in f.read().splitlines() if line.startswith("CONFIG_")]
        self.assertGreater(len(asked), 100)
        self.assertEqual([line for line in asked if line not in got], [])

    def test_it_boots(self):
        p = self.apply(HELLO)
        self.assert_code(p, 0)
        self.assertRegex(p.out, rb"^6\.1\.\d+-kage\n$")

    def test_it_is_quiet(self):
        """Nothing that vmd or the kernel misses."""
        p = self.apply(HELLO, "--cold")
        self.assert_code(p, 0)
        self.assertNotIn(b"vmd:", p.err)

    def test_all_at_once(self):
        """Shares, users, limits, the clock, a disk and a network: what the kernel must have for them."""
        os.mkdir(self.path("out"))
        p = self.apply(
            """
            version: 1
            image: tiny
            machine: {cpus: 2, disk: 64MiB, clock: "2030-01-02T03:04:05Z"}
            network: on
            shares: {out: {path: out, writable: true}}
            mounts:
              - {type: share, source: out, target: /out}
              - {type: disk, target: /data}
              - {type: tmpfs, target: /scratch, size: 8MiB}
            users: {tester: {uid: 1000}}
            limits: {memory: 64MiB, processes: 20}
            commands:
              - run: date -u +%Y-%m-%d; nproc; ls -d /sys/class/net/*
              - {user: tester, run: 'echo written >/data/a; cp /data/a /scratch/a; grep -c /data /proc/mounts'}
              - {run: 'head -c 100m /dev/zero | tail -c 100m | wc -c', expect: {exit: [137, 1, 0]}}
              - {run: 'for i in $(seq 40); do sleep 5 & done', expect: {exit: [1, 2]}}
              - {run: 'cat /scratch/a >/out/a; cat /proc/sys/kernel/random/boot_id', pty: true}
            """
        )
        self.assert_code(p, 0)
        self.assertTrue(p.out.startswith(b"2030-01-02\n2\n/sys/class/net/eth0\n"), p.out)
        with open(self.path("out/a")) as f:
            self.assertEqual(f.read(), "written\n")

    def test_wrong_words(self):
        p = kage("image", "build", "--kernel", "fat")
        self.assertEqual(p.returncode, 2)
        self.assertIn(b"kage's kernels are stock and lean", p.stderr)
        p = kage("image", "ls", "--kernel", "lean")
        self.assertIn(b"ls does not take --kernel", p.stderr)

    def test_zz_forgotten(self):
        """With the image goes the choice."""
        path = os.path.join(os.environ["XDG_CACHE_HOME"], "kage")
        shutil.copytree(path, self.path("cache/kage"))
        env = {**os.environ, "XDG_CACHE_HOME": self.path("cache")}
        self.assert_code(self.kage("image", "rm", "tiny", env=env), 0)
        self.assertEqual(re.findall("tiny", self.kage("image", "ls", env=env).out.decode()), [])
        self.assertFalse(os.path.exists(self.path("cache/kage/own-kernel")))
        self.assertTrue(os.listdir(self.path("cache/kage/lean")))
        self.assert_code(self.kage("image", "rm", "--all", env=env), 0)
        self.assertEqual(os.listdir(self.path("cache/kage/lean")), [])


class LeanRootFilesystems(test_images.RootFilesystems):
    """Every kind of root file system, on the lean kernel."""


if __name__ == "__main__":
    ran = unittest.main(exit=False).result
    # CTest shows it as skipped then, not as passed.
    sys.exit(not ran.wasSuccessful() or (77 if ran.skipped and not ran.testsRun else 0))
