"""Machines that stay: start, ps, logs, stop, gc, and what they say after a crash."""

import json
import os
import signal
import subprocess
import time
import unittest

from kage_e2e import KAGE, Kage, alive, qemu_children, wait_until


class Machines(Kage):
    def setUp(self):
        super().setUp()
        # A runtime folder of the test's own: other machines of the user are not its business.
        os.mkdir(self.path("run"), 0o700)
        self.env = {**os.environ, "XDG_RUNTIME_DIR": self.path("run")}
        self.addCleanup(lambda: subprocess.run([KAGE, "stop", "--all"], env=self.env, capture_output=True, check=False))

    def run_kage(self, *args, **kwargs):
        return self.kage(*args, env=self.env, **kwargs)

    def up(self, *args):
        p = self.run_kage("start", *args)
        self.assert_code(p, 0)
        return p.out.decode().strip()

    def ps(self):
        p = self.run_kage("ps", "--format", "json")
        self.assert_code(p, 0)
        return json.loads(p.out)

    def machine(self, handle):
        return next(vm for vm in self.ps() if vm["id"] == handle)

    def folder(self):
        return self.path("run", "kage")

    def test_life_of_a_machine(self):
        vm = self.up("tiny", "--name", "box")
        info = self.machine(vm)
        self.assertEqual((info["name"], info["state"], info["image"]), ("box", "running", "tiny"))
        self.assertEqual(self.run_kage("ps", "-q").out.decode().split(), [vm])
        self.assertIn(b"vmd ready", self.run_kage("logs", "box").out)
        self.assertEqual(os.stat(os.path.join(self.folder(), vm)).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(os.path.join(self.folder(), vm, "token")).st_mode & 0o777, 0o600)
        qemu = qemu_children(info["owner"])
        self.assertEqual(len(qemu), 1)
        p = self.run_kage("stop", str(info["port"]))
        self.assert_code(p, 0)
        self.assert_gone(qemu[0])
        self.assert_gone(info["owner"])
        self.assertEqual(self.ps(), [])
        self.assertEqual(os.listdir(self.folder()), [])

    def test_the_truth_after_crashes(self):
        owner_dies, qemu_dies = self.up("tiny"), self.up("tiny")
        a, b = self.machine(owner_dies), self.machine(qemu_dies)
        a_qemu, b_qemu = qemu_children(a["owner"])[0], qemu_children(b["owner"])[0]
        os.kill(a["owner"], signal.SIGKILL)
        os.kill(b_qemu, signal.SIGKILL)
        self.assert_gone(a_qemu)
        self.assert_gone(b["owner"], 5)
        self.assertEqual(self.machine(owner_dies)["state"], "dead")
        self.assertEqual(self.machine(qemu_dies)["state"], "ended")
        self.assertIn("the virtual machine ended", self.machine(qemu_dies)["reason"])
        p = self.run_kage("stop", owner_dies[:4])
        self.assertIn(b"owner process was killed", p.err)
        p = self.run_kage("gc")
        self.assert_code(p, 0)
        self.assertIn(qemu_dies.encode(), p.out)
        self.assertEqual(os.listdir(self.folder()), [])

    def test_gc_leaves_what_lives(self):
        vm = self.up("tiny")
        self.assertEqual(self.run_kage("gc").out, b"")
        self.assertEqual(self.machine(vm)["state"], "running")

    def test_the_terminal_may_go(self):
        p = subprocess.run(["setsid", "-w", "sh", "-c", f"'{KAGE}' start tiny; kill -HUP 0"],
                           env=self.env, capture_output=True, timeout=240, check=False)
        vm = p.stdout.decode().strip()
        time.sleep(0.5)
        self.assertEqual(self.machine(vm)["state"], "running")

    def test_a_start_that_is_interrupted_leaves_nothing(self):
        p = self.start("start", "tiny", env=self.env)
        wait_until(lambda: os.path.isdir(self.folder()) and os.listdir(self.folder()), 60)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=30)
        self.assertEqual(p.returncode, 130)
        self.assertTrue(wait_until(lambda: os.listdir(self.folder()) == [], 10))

    def test_a_spec_and_shares(self):
        os.mkdir(self.path("data"))
        self.write("box.yaml", """
            version: 1
            name: from-spec
            image: tiny
            shares:
              data: {path: data, writable: true}
            mounts:
              - {type: share, source: data, target: /data}
            users:
              dev: {uid: 1000}
            commands:
              - run: exit 1
            """)
        vm = self.up("box.yaml")
        self.assertEqual(self.machine(vm)["name"], "from-spec")
        other = self.up("tiny", "--share", self.path("data"), "data:rw")
        self.assertEqual(self.machine(other)["state"], "running")

    def test_errors(self):
        for args, words in (
            (("start",), "which image"),
            (("start", "nosuch"), "nosuch"),
            (("start", "tiny", "--share", "/nonexistent", "t"), "/nonexistent"),
            (("start", "tiny", "--memory", "lots"), "lots"),
            (("start", "tiny", "--share", ".", "a/b"), "a/b"),
            (("stop", "nothing"), "nothing"),
            (("stop",), "--all"),
            (("logs", "nothing"), "nothing"),
        ):
            with self.subTest(args):
                p = self.run_kage(*args)
                self.assertNotEqual(p.returncode, 0)
                self.assertIn(words, p.err.decode())
        self.assertEqual(self.ps(), [])

    def test_a_folder_of_somebody_else_is_refused(self):
        os.symlink("/tmp", self.folder())
        p = self.run_kage("ps")
        self.assert_code(p, 1)
        self.assertIn(b"only you can enter", p.err)
        os.unlink(self.folder())


if __name__ == "__main__":
    unittest.main()
