"""Machines that stay: start, ps, logs, stop, gc, and what they say after a crash."""

import http.client
import json
import os
import random
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

    def token(self, vm):
        with open(os.path.join(self.folder(), vm, "token"), "rb") as f:
            return f.read().strip()

    def test_the_token_is_nowhere(self):
        vm = self.up("tiny")
        token, info = self.token(vm), self.machine(vm)
        self.assertEqual(len(token), 64)
        self.assert_code(self.run_kage("exec", vm, "--", "true"), 0)
        seen = self.run_kage("logs", vm).out + self.run_kage("ps", "--format", "json").out
        for pid in (info["owner"], *qemu_children(info["owner"])):
            for name in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    seen += f.read()
        self.assertNotIn(token, seen)

    def test_the_forwarded_port_is_closed_to_strangers(self):
        info = self.machine(self.up("tiny"))
        qemu, = qemu_children(info["owner"])
        listing = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False).stdout
        ports = [l.split()[3] for l in listing.split("\n") if f"pid={qemu}," in l]
        self.assertEqual(ports, [f"127.0.0.1:{info['port']}"])
        for headers in ({}, {"Authorization": "Bearer " + "0" * 64}, {"Origin": "http://x"}):
            c = http.client.HTTPConnection("127.0.0.1", info["port"], timeout=20)
            c.request("GET", "/", headers={"Upgrade": "websocket", "Connection": "Upgrade",
                                           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                                           "Sec-WebSocket-Version": "13", **headers})
            try:
                self.assertNotEqual(c.getresponse().status, 101)
            except (http.client.HTTPException, ConnectionError):
                pass
            c.close()
        self.assertTrue(alive(qemu))

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
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            p = self.start("start", "tiny", env=self.env)
            wait_until(lambda: os.path.isdir(self.folder()) and os.listdir(self.folder()), 60)
            p.send_signal(number)
            p.communicate(timeout=30)
            self.assertEqual(p.returncode, code)
            # That the machine is gone is said when it is.
            self.assertEqual(os.listdir(self.folder()), [])

    def test_a_start_that_is_interrupted_at_any_time_leaves_nothing(self):
        rng = random.Random(11)
        for i in range(int(os.environ.get("KAGE_TEST_KILLS", "12"))):
            with self.subTest(i):
                p = self.start("start", "tiny", env=self.env)
                time.sleep(rng.uniform(0.0, 0.6))
                p.send_signal(signal.SIGTERM)
                out, err = p.communicate(timeout=60)
                if p.returncode == 0:  # it was up first
                    self.assert_code(self.run_kage("stop", out.decode().strip()), 0)
                self.assertTrue(not os.path.isdir(self.folder()) or os.listdir(self.folder()) == [], err)

    def test_a_start_that_is_killed_leaves_no_machine_nobody_knows(self):
        p = self.start("start", "tiny", env=self.env)
        self.assertTrue(wait_until(lambda: self.ps(), 60))
        owner = self.ps()[0]["owner"]
        p.kill()
        p.communicate()
        self.assert_gone(owner, 60)
        self.assertEqual(os.listdir(self.folder()), [])

    def test_a_machine_stops_where_signals_were_ignored(self):
        p = self.start("start", "tiny", env=self.env, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        p.out, p.err = p.communicate(timeout=240)
        self.assert_code(p, 0)
        started = time.monotonic()
        self.assert_code(self.run_kage("stop", p.out.decode().strip()), 0)
        self.assertLess(time.monotonic() - started, 8)

    def test_a_machine_holds_nothing_of_who_started_it(self):
        reader, writer = os.pipe()
        p = self.start("start", "tiny", env=self.env, pass_fds=[writer])
        p.out, p.err = p.communicate(timeout=240)
        os.close(writer)
        self.assert_code(p, 0)
        os.set_blocking(reader, False)
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)
        self.assertEqual(self.machine(p.out.decode().strip())["state"], "running")

    def test_the_network_of_a_spec_shows(self):
        for word, connects in (("on", True), ("off", False)):
            self.write("net.yaml", f"""
                version: 1
                image: tiny
                network: {word}
                commands:
                  - run: exit 1
                """)
            self.assertEqual(self.machine(self.up("net.yaml"))["network"], connects)

    def test_output_that_is_lost_is_an_error(self):
        with open("/dev/full", "w") as full:
            p = self.run_kage("start", "tiny", stdout=full)
            self.assertEqual(p.returncode, 125, p.err)
            vm = self.ps()[0]
            self.assertEqual(vm["state"], "running")
            self.assertIn(vm["id"].encode(), p.err)
            os.kill(vm["owner"], signal.SIGKILL)
            self.assert_gone(vm["owner"])
            for args in (("ps",), ("ps", "--format", "json"), ("logs", vm["id"]), ("gc",), ("gc", "--help"),
                         ("ps", "--help"), ("start", "--help"), ("logs", "--help"), ("stop", "--help"),
                         ("template", "ls"), ("template", "--help"), ("exec", "--help"), ("apply", "--help")):
                with self.subTest(args):
                    p = self.run_kage(*args, stdout=full)
                    self.assertEqual(p.returncode, 1, p.err)
                    self.assertIn(b"cannot write to standard output", p.err)

    def follow(self, vm):
        p = self.start("logs", "-f", vm, env=self.env)
        while b"vmd ready" not in p.stdout.readline():
            pass
        return p

    def test_following_a_log_that_is_rotated(self):
        vm = self.up("tiny")
        p = self.follow(vm)
        log = os.path.join(self.folder(), vm, "console.log")
        with open(log, "a") as f:
            f.write("last line of the old\n")
        os.rename(log, log + ".old")
        with open(log, "w") as f:
            f.write("first line of the new\n")
        self.assertIn(b"last line of the old", p.stdout.readline())
        self.assertIn(b"first line of the new", p.stdout.readline())
        self.assert_code(self.run_kage("stop", vm), 0)
        _, err = p.communicate(timeout=20)
        self.assertEqual(p.returncode, 0)
        self.assertIn(b"has ended: stopped", err)

    def test_following_a_log_tells_why_the_machine_ended(self):
        vm = self.up("tiny")
        p = self.follow(vm)
        os.kill(self.machine(vm)["owner"], signal.SIGKILL)
        _, err = p.communicate(timeout=20)
        self.assertIn(b"has ended: its owner process was killed", err)

    def test_names_are_printable(self):
        vm = self.up("tiny")
        os.kill(self.machine(vm)["owner"], signal.SIGKILL)
        info = os.path.join(self.folder(), vm, "vm.json")
        with open(info) as f:
            text = json.load(f)
        text["name"] = text["image"] = "a\x1b[31mb"
        with open(info, "w") as f:
            json.dump(text, f)
        for args in (("ps",), ("ps", "--format", "json"), ("logs", vm), ("stop", "nothing"), ("gc",)):
            with self.subTest(args):
                p = self.run_kage(*args)
                self.assertNotIn(b"\x1b", p.out + p.err)
                self.assertNotIn(b"\\u001b", p.out + p.err)

    def test_qemu_is_found_without_a_path(self):
        del self.env["PATH"]
        self.up("tiny")

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
            (("start", "tiny", "--share", self.path("nosuch"), "t"), "nosuch"),
            (("start", "tiny", "--memory", "lots"), "lots"),
            (("start", "tiny", "--name", "Bad\x1b[31m"), "lower-case"),
            (("start", "tiny", "--name", ""), "lower-case"),
            (("start", "tiny", "--name", "-x"), "lower-case"),
            (("start", "tiny", "--name", "x" * 64), "lower-case"),
            (("start", "tiny", "--share", ".", "a/b"), "a/b"),
            (("stop", "nothing"), "nothing"),
            (("stop",), "--all"),
            (("logs", "nothing"), "nothing"),
        ):
            with self.subTest(args):
                p = self.run_kage(*args)
                self.assertNotEqual(p.returncode, 0)
                self.assertIn(words, p.err.decode())
                self.assertNotIn(b"\x1b", p.err)
        self.assertEqual(self.ps(), [])

    def test_a_folder_of_somebody_else_is_refused(self):
        os.symlink("/tmp", self.folder())
        p = self.run_kage("ps")
        self.assert_code(p, 1)
        self.assertIn(b"only you can enter", p.err)
        os.unlink(self.folder())

    @unittest.skipIf(os.geteuid() != 0, "only root can give a folder away")
    def test_a_runtime_folder_of_somebody_else_is_not_used(self):
        os.chown(self.path("run"), 12345, 12345)
        self.assert_code(self.run_kage("ps"), 0)
        self.assertEqual(os.listdir(self.path("run")), [])
        os.chown(self.path("run"), 0, 0)  # the clean-up stops the machines of this folder


if __name__ == "__main__":
    unittest.main()
