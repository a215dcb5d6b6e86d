"""What breaks around a run: signals, dead processes, a broken host. Nothing hangs, nothing stays."""

import json
import os
import signal
import socket
import subprocess
import textwrap
import time
import unittest

from kage_e2e import KAGE, SIGNALS, Kage, qemu_children, wait_until

SLEEPER = """
    version: 1
    image: tiny
    commands:
      - name: sleeper
        run: echo started; sleep 1000
    """


class Signals(Kage):
    def test_int_term_and_hup_end_the_run(self):
        for name, number in SIGNALS.items():
            with self.subTest(name):
                p, qemu = self.running(SLEEPER)
                p.send_signal(number)
                _, err = p.communicate(timeout=10)
                self.assertEqual(p.returncode, 128 + number)
                self.assertIn(f"interrupted by SIG{name}".encode(), err)
                self.assert_gone(qemu)

    def test_kill_9_of_kage_leaves_no_qemu(self):
        p, qemu = self.running(SLEEPER)
        before = set(os.listdir(self.dir))
        p.kill()
        p.wait()
        self.assert_gone(qemu, 2)
        self.assertEqual(set(os.listdir(self.dir)), before)

    def test_kill_9_while_booting(self):
        for delay in (0.05, 0.3, 0.8):
            with self.subTest(delay):
                p = self.start("apply", self.spec(SLEEPER))
                time.sleep(delay)
                qemu = qemu_children(p.pid)
                p.kill()
                p.wait()
                for pid in qemu:
                    self.assert_gone(pid, 2)

    def test_interrupt_while_booting(self):
        p = self.start("apply", self.spec(SLEEPER))
        qemu = wait_until(lambda: qemu_children(p.pid), 20)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=10)
        self.assertEqual(p.returncode, 130)
        self.assert_gone(qemu[0])

    def test_kage_stopped_for_a_while_goes_on(self):
        p, _ = self.running(SLEEPER.replace("sleep 1000", "sleep 3; echo done"))
        p.send_signal(signal.SIGSTOP)
        time.sleep(5)
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (0, b"done\n"), err)


class Guest(Kage):
    def lost(self, p, result):
        _, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 125, err)
        with open(result) as f:
            r = json.load(f)
        self.assertEqual(r["verdict"], "error")
        self.assertEqual(r["commands"][0]["status"], "lost")
        return r, err

    def test_qemu_killed(self):
        result = self.path("r.json")
        p, qemu = self.running(SLEEPER, "--result", result)
        os.kill(qemu, signal.SIGKILL)
        r, err = self.lost(p, result)
        self.assertEqual(r["class"], "agent-lost")
        self.assertIn(b"the virtual machine ended while command 'sleeper' ran", err)

    def test_guest_panic_has_its_own_class_and_the_console(self):
        result = self.path("r.json")
        p, qemu = self.running(
            """
            version: 1
            image: tiny
            commands:
              - name: crash
                sandbox: none
                run: echo started; sleep 1; echo c > /proc/sysrq-trigger; sleep 100
            """,
            "--result",
            result,
        )
        r, err = self.lost(p, result)
        self.assertEqual(r["class"], "panic")
        self.assertIn(b"Kernel panic", err)
        self.assert_gone(qemu)

    def test_a_command_cannot_kill_vmd_or_outlive_itself(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: kill -9 1 || true; kill -9 -1 || true
                expect: {exit: [0, 137]}
              - run: echo still here
            """
        )
        self.assert_code(p, 0)
        self.assertIn(b"still here", p.out)

    def test_a_fork_bomb_is_bounded(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            limits: {processes: 64}
            users:
              u: {uid: 1000}
            commands:
              - run: |
                  bomb() { bomb | bomb & }
                  bomb; sleep 2; true
                user: u
                timeout: 20s
                continue-on-error: true
              - run: echo alive
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"alive\n")

    def test_a_kernel_that_says_nothing_is_told(self):
        kernel = self.path("kernel")
        with open(kernel, "wb") as f:
            f.write(b"\0" * 4096)
        p = self.kage("apply", "--kernel", kernel, self.spec("timeout: 4s\n" + textwrap.dedent(SLEEPER)))
        self.assertIn(p.returncode, (124, 125), p.err)
        self.assertTrue(p.err.startswith(b"kage: "), p.err)


class Host(Kage):
    def refused(self, text, *words, args=(), **kwargs):
        p = self.kage("apply", *args, self.spec(text), **kwargs)
        self.assert_code(p, 125)
        for word in words:
            self.assertIn(word, p.err.decode())
        self.assertEqual(p.out, b"")
        return p

    def test_no_qemu(self):
        self.refused(SLEEPER, "qemu-system", "install", env={"PATH": "/nonexistent", "HOME": self.dir})

    def test_bad_specs(self):
        self.refused("version: 1\n", "has no 'image'", "has no 'commands'")
        self.refused(SLEEPER.replace("sleeper", "x\n        bogus: 1"), "bogus", "nothing was run")
        p = self.kage("apply", self.path("absent.yaml"))
        self.assert_code(p, 125)
        self.assertIn(b"absent.yaml", p.err)

    def test_unknown_image(self):
        self.refused(SLEEPER.replace("tiny", "nosuch"), "nosuch", "tiny")

    def test_unusable_accelerator(self):
        text = SLEEPER.replace("image: tiny", "image: tiny\n    machine: {accel: hvf}")
        self.refused(text, "hvf")

    def test_share_that_vanished(self):
        text = SLEEPER.replace(
            "image: tiny", "image: tiny\n    shares:\n      s: {path: gone}"
        )
        self.refused(text, "gone")

    def test_usage(self):
        for args in ((), ("--bogus", "a"), ("--result",), ("--initrd", "x", "a")):
            p = self.kage("apply", *args)
            self.assert_code(p, 125)
            self.assertIn(b"--help", p.err)


class Streams(Kage):
    HELLO = """
        version: 1
        image: tiny
        commands:
          - run: echo hello
        """

    def shell(self, script, timeout=120):
        spec = self.spec(self.HELLO)
        return subprocess.run(["bash", "-c", script.format(kage=KAGE, spec=spec)], capture_output=True,
                              cwd=self.dir, timeout=timeout, check=False)

    def test_a_closed_standard_output_is_no_pass(self):
        for redirection in (">&-", "<&- >&-"):
            p = self.shell(f"'{{kage}}' apply '{{spec}}' {redirection}")
            self.assertEqual(p.returncode, 125, p.stderr)
            self.assertIn(b"cannot write", p.stderr)
        self.assertEqual(self.shell("'{kage}' apply '{spec}' 2>&-").stdout, b"hello\n")

    def test_nohup_holds(self):
        p = self.shell("trap '' HUP; '{kage}' apply '{spec}' & p=$!; sleep 0.2; kill -HUP $p; wait $p")
        self.assertEqual((p.returncode, p.stdout), (0, b"hello\n"), p.stderr)

    def test_a_stuck_reader_does_not_hold_a_run_that_was_told_to_end(self):
        spec = self.spec("""
            version: 1
            image: tiny
            limits: {output: 1GiB}
            commands:
              - exec: [cat, /dev/zero]
            """)
        read, write = os.pipe()
        p = self.start("apply", spec, stdout=write)
        os.close(write)
        self.assertEqual(os.read(read, 1), b"\0")
        time.sleep(0.5)
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=10)
        os.close(read)
        self.assertEqual(p.returncode, 143)

    def test_inherited_descriptors_do_not_reach_qemu(self):
        with open("/etc/hostname") as secret:
            p = self.start("apply", self.spec(SLEEPER), pass_fds=(secret.fileno(),))
            self.assertEqual(p.stdout.readline(), b"started\n")
            qemu = qemu_children(p.pid)[0]
            links = [os.readlink(f"/proc/{qemu}/fd/{fd}") for fd in os.listdir(f"/proc/{qemu}/fd")]
        self.assertNotIn("/etc/hostname", links)
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=10)

    def test_reports_go_where_they_are_told(self):
        p = self.shell("mkfifo f; cat f > copied & '{kage}' apply --junit f '{spec}'; wait; test -p f && grep -c testsuite copied")
        self.assertEqual(p.returncode, 0, p.stderr)
        p = self.shell("'{kage}' apply --junit /no/such/x.xml '{spec}'")
        self.assertEqual((p.returncode, p.stdout), (125, b""))  # told before anything runs

    def test_the_first_failure_keeps_the_verdict(self):
        p = self.apply("""
            version: 1
            image: tiny
            limits: {output: 1KiB}
            commands:
              - run: exit 3
              - run: head -c 2000 /dev/zero
                when: always
            """)
        self.assert_code(p, 3)


class Reach(Kage):
    def test_nobody_else_can_reach_the_machine(self):
        with socket.create_server(("127.0.0.1", 0)):
            listing = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False).stdout
            if f"pid={os.getpid()}," not in listing:
                self.skipTest("ss does not tell whose sockets are whose here")
        p, qemu = self.running(SLEEPER)
        for fd in os.listdir(f"/proc/{qemu}/fd"):
            self.assertNotIn("kage-token", os.readlink(f"/proc/{qemu}/fd/{fd}"))
        for options in ("-ltnpH", "-lunpH", "-lxpH"):
            listing = subprocess.run(["ss", options], capture_output=True, text=True, check=False).stdout
            for pid in (qemu, p.pid):
                self.assertNotIn(f"pid={pid},", listing)
        with open(f"/proc/{qemu}/cmdline", "rb") as f:
            self.assertNotIn(b"-netdev", f.read())

    def test_not_even_root_in_the_guest_gets_at_the_port(self):
        p = self.apply("""
            version: 1
            image: tiny
            commands:
              - sandbox: none
                run: |
                  mkdir /tmp/dev; mount -t devtmpfs dev /tmp/dev; ls /tmp/dev/vport0p1
                  cat /tmp/dev/vport0p1 2>&1 | grep busy
            """)
        self.assert_code(p, 0)


class Soak(Kage):
    RUNS = int(os.environ.get("KAGE_TEST_RUNS", "50"))

    def test_many_in_a_row(self):
        spec = self.spec(
            """
            version: 1
            image: tiny
            commands:
              - run: echo one; exit 7
            """
        )
        temp = set(os.listdir("/tmp")) if os.path.isdir("/tmp") else set()
        for i in range(self.RUNS):
            p = self.kage("apply", spec)
            self.assertEqual((p.returncode, p.out), (7, b"one\n"), (i, p.err))
            self.assertEqual(qemu_children(p.pid), [])
        self.assertEqual([n for n in set(os.listdir("/tmp")) - temp if "kage" in n.lower() and "e2e" not in n], [])
        self.assertEqual(os.listdir(self.dir), ["job.yaml"])


if __name__ == "__main__":
    unittest.main()
