"""Checkpoints: the slow part once, and never a stale, broken or talkative one."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request
import xml.etree.ElementTree

from kage_e2e import Kage, qemu_children, wait_until

BASIC = """
    version: 1
    image: tiny
    shares:
      src: {path: src}
    mounts:
      - {type: share, source: src, target: /src}
    commands:
      - name: prepare
        run: |
          sleep 2
          head -c 8 /dev/urandom | od -An -tx1 > /root/id
          cat /src/in > /root/in
          echo prepared
        inputs: [src/in]
        checkpoint: true
      - name: use
        run: cat /root/id /root/in /src/in
    """


class Checkpoints(Kage):
    """One cache for all, so that a template is made once; checkpoints are each test's own."""

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="kage-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kage")
        os.mkdir(os.path.join(cls.home, "kage"), mode=0o700)
        for name in ("images", "parts", "kernels"):
            if os.path.isdir(os.path.join(cache, name)):
                subprocess.run(["cp", "-a", "--reflink=auto", os.path.join(cache, name),
                                os.path.join(cls.home, "kage")], check=True)

    def setUp(self):
        super().setUp()
        self.env = {**os.environ, "XDG_CACHE_HOME": self.home}
        self.templates = os.path.join(self.home, "kage", "templates")
        self.write("src/in", "one\n")
        self.remove_checkpoints()
        # those of the specs below; there already but for the first test
        for spec in (BASIC, "version: 1\nimage: tiny\ncommands: [{run: 'true'}]\n"):
            self.assert_code(self.kage("template", "build", self.spec(spec), env=self.env), 0)

    def remove_checkpoints(self):
        for key in self.checkpoints():
            shutil.rmtree(os.path.join(self.templates, key))

    def run_spec(self, text, *args):
        """Applies it with a terminal for standard error, so that kage says what it does."""
        master, slave = os.openpty()
        process = None
        said = b""
        try:
            process = self.start("apply", "--result", self.path("result.json"), *args, self.spec(text),
                                 env=self.env, stderr=slave)
            os.close(slave)
            process.out = b""
            while True:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                if not data:
                    break
                said += data
            process.out, _ = process.communicate(timeout=240)
        finally:
            os.close(master)
        process.err = said.replace(b"\r\n", b"\n")
        with open(self.path("result.json")) as f:
            process.result = json.load(f)
        return process

    def cached(self, p):
        return [c.get("cached", False) for c in p.result["commands"]]

    def checkpoints(self):
        found = []
        for name in os.listdir(self.templates) if os.path.isdir(self.templates) else []:
            if name.startswith("."):
                continue
            with open(os.path.join(self.templates, name, "meta.json")) as f:
                if "after" in json.load(f):
                    found.append(name)
        return found

    def files(self, key):
        return {name: os.path.join(self.templates, key, name) for name in os.listdir(os.path.join(self.templates, key))}

    # ---- the point of it ----

    def test_the_second_run_starts_there(self):
        first = self.run_spec(BASIC)
        self.assert_code(first, 0)
        self.assertEqual(self.cached(first), [False, False])
        self.assertIn(b"checkpoint after 'prepare' made in", first.err)
        self.assertEqual(len(self.checkpoints()), 1)
        second = self.run_spec(BASIC)
        self.assert_code(second, 0)
        self.assertEqual(self.cached(second), [True, False])
        self.assertEqual(first.out, b"prepared\n" + second.out)
        self.assertRegex(second.err, rb"\[1/2\] prepare \(from a checkpoint, \d+s old\)")
        self.assertIn(b"2 commands in", second.err)
        self.assertIn(b"1 of them from a checkpoint", second.err)
        self.assertLess(second.result["duration_ms"], 2000)
        self.assertEqual(second.result["commands"][0]["exit_code"], 0)
        self.assertEqual(second.result["commands"][0]["status"], "passed")
        p = self.kage("apply", "--junit", self.path("j.xml"), self.path("job.yaml"), env=self.env)
        self.assert_code(p, 0)
        cases = xml.etree.ElementTree.parse(self.path("j.xml")).getroot().findall("testcase")
        self.assertEqual([c.findtext("system-out") for c in cases], ["from a checkpoint", None])

    def test_a_change_makes_it_anew(self):
        first = self.run_spec(BASIC)
        os.utime(self.path("src", "in"), (1, 1))
        self.write("src/other", "not an input\n")
        self.assertEqual(self.cached(self.run_spec(BASIC)), [True, False])
        for change in (
            lambda: self.write("src/in", "two\n"),
            lambda: os.chmod(self.path("src", "in"), 0o755),
            lambda: (os.unlink(self.path("src", "in")), os.symlink("other", self.path("src", "in"))),
        ):
            change()
            p = self.run_spec(BASIC)
            self.assert_code(p, 0)
            self.assertEqual(self.cached(p), [False, False])
            self.assertNotEqual(p.out, first.out)
            self.assertEqual(self.cached(self.run_spec(BASIC)), [True, False])
        for other in (BASIC.replace("echo prepared", "echo Prepared"),
                      BASIC.replace("sleep 2", "sleep 1"),
                      BASIC.replace("image: tiny", "image: tiny\n    env: {X: y}"),
                      BASIC.replace("image: tiny", "image: tiny\n    users: {u: {uid: 1000}}")):
            self.assertEqual(self.cached(self.run_spec(other)), [False, False])
        # what comes after it, and what things are called, does not matter
        after = BASIC.replace("name: prepare", "name: get ready").replace("cat /root/id", "echo; cat /root/id")
        self.assertEqual(self.cached(self.run_spec(after + "timeout: 30m\n")), [True, False])

    def test_folders_count_with_all_that_is_in_them(self):
        spec = BASIC.replace("[src/in]", "[src]")
        self.write("src/a/b/c", "c\n")
        self.assert_code(self.run_spec(spec), 0)
        self.assertEqual(self.cached(self.run_spec(spec)), [True, False])
        for change in (lambda: self.write("src/a/b/d", ""), lambda: os.rename(self.path("src/a/b/d"), self.path("src/a/d")),
                       lambda: os.mkdir(self.path("src/e")), lambda: os.symlink("/etc", self.path("src/link"))):
            change()
            self.assertEqual(self.cached(self.run_spec(spec)), [False, False])
        # the same project elsewhere
        shutil.move(self.path("src"), self.path("moved"))
        moved = spec.replace("path: src", "path: moved").replace("[src]", "[moved]")
        self.assertEqual(self.cached(self.run_spec(moved)), [True, False])

    def test_several(self):
        spec = """
            version: 1
            image: tiny
            commands:
              - run: echo one; echo 1 > /root/log
                checkpoint: true
              - run: echo two; echo 2 >> /root/log
                checkpoint: true
              - run: echo three; cat /root/log; echo 3 >> /root/log
            """
        self.assertEqual(self.run_spec(spec).out, b"one\ntwo\nthree\n1\n2\n")
        self.assertEqual(len(self.checkpoints()), 2)
        for _ in range(2):
            p = self.run_spec(spec)
            self.assertEqual((p.out, self.cached(p)), (b"three\n1\n2\n", [True, True, False]))
        p = self.run_spec(spec.replace("echo two", "echo zwei"))
        self.assertEqual((p.out, self.cached(p)), (b"zwei\nthree\n1\n2\n", [True, False, False]))
        p = self.run_spec(spec.replace("echo two", "echo zwei"))
        self.assertEqual((p.out, self.cached(p)), (b"three\n1\n2\n", [True, True, False]))
        self.assertEqual(len(self.checkpoints()), 3)

    # ---- what comes back ----

    def test_services_disk_and_network_come_back(self):
        self.write("src/page", "hello\n")
        port = random.randint(20000, 30000)
        spec = f"""
            version: 1
            image: tiny
            machine: {{disk: 64MiB}}
            network: {{outbound: off, forward: ["{port}:8000"]}}
            shares:
              src: {{path: src}}
            mounts:
              - {{type: share, source: src, target: /src}}
              - {{type: disk, target: /data}}
              - {{type: tmpfs, target: /scratch}}
            commands:
              - run: cp /src/page /data/page; head -c 5000000 /dev/urandom > /data/big; md5sum /data/big > /scratch/sum
                inputs: [src/page]
              - id: quiet
                run: while :; do date +%s > /tmp/new; mv /tmp/new /tmp/tick; sleep 0.1; done
                background: true
                ready: {{file: /tmp/tick}}
              - id: web
                exec: [httpd, -f, -p, "8000", -h, /data]
                background: true
                ready: {{tcp: 8000}}
                checkpoint: true
              - run: |
                  md5sum -c /scratch/sum
                  test ! -e /data/mine
                  echo > /data/mine
                  wget -qO- http://127.0.0.1:8000/page
                  a=$(cat /tmp/tick); sleep 2; b=$(cat /tmp/tick); test $b -gt $a
                  echo up; sleep 6
            """
        for expected in ([False] * 4, [True, True, True, False]):
            spec_file = self.spec(spec)
            p = self.start("apply", "--result", self.path("result.json"), spec_file, env=self.env)
            self.assertEqual(p.stdout.readline(), b"/data/big: OK\n")
            self.assertEqual(p.stdout.readline(), b"hello\n")
            self.assertEqual(p.stdout.readline(), b"up\n")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=10) as answer:
                self.assertEqual(answer.read(), b"hello\n")
            p.out, p.err = p.communicate(timeout=60)
            self.assert_code(p, 0)
            with open(self.path("result.json")) as f:
                result = json.load(f)
            self.assertEqual([c.get("cached", False) for c in result["commands"]], expected)
            # ended by kage, in both cases
            self.assertEqual([c["signal"] for c in result["commands"][1:3]], [15, 15])

    def test_a_service_s_output_and_end_are_told(self):
        spec = """
            version: 1
            image: tiny
            commands:
              - id: server
                run: echo started; while [ ! -e /tmp/stop ]; do sleep 0.1; done; echo stopping; exit 7
                background: true
                ready: {log: started}
                checkpoint: true
              - run: 'true'
              - run: touch /tmp/stop; sleep 3
            """
        first = self.run_spec(spec)
        self.assertEqual((first.returncode, first.out), (7, b"started\nstopping\n"))
        second = self.run_spec(spec)
        self.assertEqual((second.returncode, second.out), (7, b"stopping\n"))
        self.assertEqual(self.cached(second), [True, False, False])
        self.assertIn(b"background command 'server' exited with code 7 before the job ended", second.err)

    def test_a_service_that_ends_at_once_does_not_stay(self):
        spec = """
            version: 1
            image: tiny
            shares:
              src: {path: src}
            mounts:
              - {type: share, source: src, target: /src}
            commands:
              - id: server
                run: touch /tmp/up; while [ ! -e /tmp/stop ]; do sleep 0.1; done; exit 7
                cwd: /
                inputs: []
                background: true
                ready: {file: /tmp/up}
                checkpoint: true
              - run: if [ -e /src/stop ]; then touch /tmp/stop; sleep 4; fi
              - run: echo never
            """
        self.assertEqual(self.run_spec(spec).returncode, 0)
        self.assertEqual(len(self.checkpoints()), 1)
        self.write("src/stop", "")
        for cached in ([True, False, False], [False, False, False]):
            # in a run that starts there, and in the one that makes it again
            p = self.run_spec(spec)
            self.assertEqual((p.returncode, self.cached(p)), (7, cached), p.err)
            self.assertIn(b"the checkpoint is thrown away: 'server' did not live on in it", p.err)
            self.assertEqual(self.checkpoints(), [])

    def test_a_service_that_ends_before_the_machine_is_saved(self):
        self.write("src/large", "")
        os.truncate(self.path("src/large"), 1 << 30)  # kage reads it again while the service ends
        spec = """
            version: 1
            image: tiny
            shares:
              src: {path: src}
            mounts:
              - {type: share, source: src, target: /src}
            commands:
              - id: server
                run: echo started; sleep 0.1; exit 7
                cwd: /
                inputs: [src/large]
                background: true
                ready: {log: started}
                checkpoint: true
              - run: echo after it
            """
        for _ in range(2):
            p = self.run_spec(spec)
            self.assertEqual((p.returncode, p.out), (7, b"started\n"), p.err)
            self.assertIn(b"no checkpoint after 'server': 'server' did not pass", p.err)
            self.assertEqual(self.checkpoints(), [])

    def test_clones_are_distinct(self):
        spec = """
            version: 1
            image: tiny
            commands:
              - run: sleep 0.5
                checkpoint: true
              - run: |
                  head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo
                  cat /etc/machine-id
                  date +%s
            """
        self.assert_code(self.run_spec(spec), 0)
        runs = [self.start("apply", self.path("job.yaml"), env=self.env) for _ in range(4)]
        seen = [set(), set()]
        for run in runs:
            out, err = run.communicate(timeout=240)
            self.assertEqual(run.returncode, 0, err)
            lines = out.decode().split("\n")
            seen[0].add(lines[0])
            seen[1].add(lines[1])
            self.assertLess(abs(int(lines[2]) - time.time()), 60)
        self.assertEqual([len(s) for s in seen], [4, 4])

    # ---- when there is none ----

    def test_a_share_in_use_is_named(self):
        spec = """
            version: 1
            image: tiny
            shares:
              src: {path: src}
            mounts:
              - {type: share, source: src, target: /src}
            commands:
              - id: reader
                run: exec sleep 1000 < /src/in
                background: true
                ready: {exec: [sleep, "0.3"]}
                inputs: [src/in]
                checkpoint: true
              - run: cat /src/in
            """
        for _ in range(2):
            p = self.run_spec(spec)
            self.assert_code(p, 0)
            self.assertEqual(p.out, b"one\n")
            self.assertIn(b"no checkpoint after 'reader': the share at '/src' is in use", p.err)
            self.assertEqual(self.checkpoints(), [])

    def test_a_machine_that_qemu_does_not_save_goes_on(self):
        """The last moment at which it can go wrong: a share that kage did not mount."""
        spec = """
            version: 1
            image: tiny
            shares:
              src: {path: src}
              sub: {path: .}
            mounts:
              - {type: share, source: src, target: /src}
            commands:
              - id: mounter
                run: |
                  mkdir /tmp/m
                  mount -t 9p -o trans=virtio,version=9p2000.L share1 /tmp/m
                  touch /tmp/ready
                  while sleep 0.1; do echo beat; done
                sandbox: none
                background: true
                ready: {file: /tmp/ready}
                inputs: []
                checkpoint: true
              - run: cat /src/in; date +%s; sleep 1
            """
        p = self.run_spec(spec)
        self.assert_code(p, 0)
        self.assertIn(b"no checkpoint after 'mounter': Migration is disabled", p.err)
        lines = p.out.decode().split()
        self.assertIn("beat", lines[lines.index("one"):])
        self.assertLess(abs(int([line for line in lines if line.isdigit()][0]) - time.time()), 60)
        self.assertEqual([n for n in os.listdir(self.templates) if n.startswith(".")], [])
        self.assertEqual(self.checkpoints(), [])

    def test_a_failing_command_makes_none(self):
        p = self.run_spec(BASIC.replace("echo prepared", "exit 3"))
        self.assert_code(p, 3)
        self.assertEqual(self.checkpoints(), [])
        p = self.run_spec("""
            version: 1
            image: tiny
            commands:
              - {name: shaky, run: exit 1, continue-on-error: true}
              - {run: echo a, checkpoint: true}
              - run: echo b
            """)
        self.assert_code(p, 0)
        self.assertIn(b"'shaky' did not pass", p.err)
        self.assertEqual(self.checkpoints(), [])

    def test_an_input_that_changes_meanwhile(self):
        p = self.run_spec(BASIC.replace("path: src}", "path: src, writable: true}").replace(
            "echo prepared", "echo more >> /src/in"))
        self.assert_code(p, 0)
        self.assertIn(b"an input changed while the commands ran", p.err)
        self.assertEqual(self.checkpoints(), [])

    def test_inputs_that_cannot_be_read(self):
        os.symlink("/etc", self.path("src", "away"))
        plan = self.kage("plan", "--format=json", self.spec(BASIC), env=self.env)
        self.assert_code(plan, 0)
        with open(self.path("plan.json"), "wb") as f:
            f.write(plan.out.replace(b"src/in\"", b"src/away/passwd\""))
        p = self.kage("apply", "--plan", "plan.json", env=self.env)
        self.assert_code(p, 125)
        self.assertIn(b"job.yaml:", p.err)
        self.assertIn(b"a link on the way to it leaves its share", p.err)
        with open(self.path("plan.json"), "wb") as f:
            f.write(plan.out)
        os.unlink(self.path("src", "in"))
        p = self.kage("apply", "--plan", "plan.json", env=self.env)
        self.assert_code(p, 125)
        self.assertIn(b"No such file", p.err)
        self.assert_code(self.kage("apply", self.path("job.yaml"), env=self.env), 125)  # K330

    def test_cold_does_without(self):
        for _ in range(2):
            p = self.run_spec(BASIC, "--cold")
            self.assert_code(p, 0)
            self.assertEqual(self.cached(p), [False, False])
        self.assertEqual(self.checkpoints(), [])

    # ---- what it holds ----

    def test_no_secret_is_in_it(self):
        secret = "s3cr3t-" + os.urandom(12).hex()
        self.env["E2E_SECRET"] = secret
        spec = self.spec("""
            version: 1
            image: tiny
            secrets: {E2E_SECRET: {env: E2E_SECRET}}
            commands:
              - run: echo marker-in-memory > /root/marker; sleep 0.2
                checkpoint: true
              - run: echo started; cat > /dev/null; sleep 3
                secrets: [E2E_SECRET]
            """)
        for _ in range(2):
            p = self.start("apply", spec, env=self.env)
            self.assertEqual(p.stdout.readline(), b"started\n")
            p.communicate(timeout=30)
            self.assertEqual(p.returncode, 0)
        key, = self.checkpoints()
        with open(self.files(key)["ram"], "rb") as f:
            ram = f.read()
        with open(self.files(key)["state"], "rb") as f:
            state = f.read()
        self.assertIn(b"marker-in-memory", ram)
        self.assertNotIn(secret.encode(), ram)
        self.assertNotIn(secret.encode(), state)

    def test_it_is_listed_private_and_removed(self):
        self.run_spec(BASIC)
        key, = self.checkpoints()
        listing = self.kage("template", "ls", env=self.env)
        self.assertRegex(listing.out, re.compile(rb"^%s .* prepare$" % key[:12].encode(), re.M))
        for path in self.files(key).values():
            self.assertEqual(os.stat(path).st_mode & 0o077, 0)
        self.assert_code(self.kage("template", "rm", key[:12], env=self.env), 0)
        self.assertEqual(self.cached(self.run_spec(BASIC)), [False, False])

    def test_one_that_was_changed_is_made_anew(self):
        self.run_spec(BASIC)
        key, = self.checkpoints()
        path = self.files(key)["ram"]
        held = os.open(path, os.O_RDONLY)  # or its inode may be used again
        self.addCleanup(os.close, held)
        with open(path, "r+b") as f:
            f.seek(1 << 20)
            f.write(b"\xff" * 64)
        p = self.run_spec(BASIC)
        self.assert_code(p, 0)
        self.assertEqual(self.cached(p), [False, False])
        self.assertEqual(self.cached(self.run_spec(BASIC)), [True, False])

    def test_one_that_does_not_start_gives_way(self):
        self.run_spec(BASIC)
        key, = self.checkpoints()
        state, meta = self.files(key)["state"], self.files(key)["meta.json"]
        with open(state, "r+b") as f:
            f.truncate(100)
        st = os.stat(state)
        with open(meta) as f:
            info = json.load(f)

        def stamp(ns):
            return f"{ns // 10**9}.{ns % 10**9:09d}"

        info["state"] = f"{st.st_ino} {st.st_size} {stamp(st.st_mtime_ns)} {stamp(st.st_ctime_ns)}"
        with open(meta, "w") as f:
            json.dump(info, f)
        p = self.run_spec(BASIC)
        self.assert_code(p, 0)
        self.assertIn(b"the checkpoint did not start", p.err)
        self.assertEqual(self.cached(p), [False, False])
        self.assertEqual(self.cached(self.run_spec(BASIC)), [True, False])

    def test_jobs_at_once_say_what_was_cached(self):
        spec = """
            version: 1
            image: tiny
            matrix: {n: [a, b]}
            commands:
              - {run: "sleep 0.2; echo $N > /root/n", env: {N: "${matrix.n}"}, checkpoint: true}
              - run: cat /root/n
            """
        for expected in (False, True):
            p = self.apply(spec, "--jobs", "2", env=self.env)
            self.assert_code(p, 0)
            self.assertEqual(sorted(line.split()[-1] for line in p.out.splitlines()), [b"a", b"b"])
            self.assertEqual([c.get("cached", False) for job in p.result["jobs"] for c in job["commands"]],
                             [expected, False] * 2)
        self.assertEqual(len(self.checkpoints()), 2)

    # ---- many, and killed ----

    def test_many_at_once(self):
        spec = self.spec(BASIC)
        for _ in range(2):
            runs = [self.start("apply", spec, env=self.env) for _ in range(4)]
            for run in runs:
                out, err = run.communicate(timeout=240)
                self.assertEqual(run.returncode, 0, err)
                self.assertTrue(out.endswith(b"one\none\n"), out)
        self.assertEqual(len(self.checkpoints()), 1)
        self.assertEqual([n for n in os.listdir(self.templates) if n.startswith(".")], [])

    def saving(self):
        return [n for n in os.listdir(self.templates) if n.startswith(".new-")]

    def test_kill_9_while_one_is_made(self):
        spec = self.spec(BASIC.replace("sleep 2", "sleep 0.1"))
        for i in range(int(os.environ.get("KAGE_TEST_KILLS", "10"))):
            p = self.start("apply", spec, env=self.env)
            self.assertTrue(wait_until(self.saving, 30))
            time.sleep(i * 0.02)
            children = qemu_children(p.pid)
            p.kill()
            p.communicate()
            for pid in children:
                self.assert_gone(pid)
            if self.checkpoints():
                p = self.kage("apply", spec, env=self.env)
                self.assert_code(p, 0)
                self.assertNotIn(b"prepared", p.out)
                self.remove_checkpoints()
        for expected in (True, False):
            p = self.kage("apply", spec, env=self.env)
            self.assert_code(p, 0)
            self.assertEqual(b"prepared" in p.out, expected)
        self.assertEqual(self.saving(), [])

    def test_an_interrupt_while_one_is_made(self):
        spec = self.spec(BASIC.replace("sleep 2", "sleep 0.1"))
        for i in range(5):
            p = self.start("apply", spec, env=self.env)
            self.assertTrue(wait_until(self.saving, 30))
            time.sleep(i * 0.03)
            p.send_signal(signal.SIGTERM)
            p.communicate(timeout=30)
            self.assertEqual(p.returncode, 143)
            self.assertEqual(self.saving(), [])
            self.remove_checkpoints()

    def test_the_job_s_time_is_one(self):
        p = self.run_spec(BASIC.replace("image: tiny", "image: tiny\n    timeout: 8s").replace(
            "cat /root/id", "sleep 30; cat /root/id"))
        self.assert_code(p, 124)
        self.assertLess(p.result["duration_ms"], 25000)
        self.assertEqual(len(self.checkpoints()), 1)
        self.assertEqual([c["status"] for c in p.result["commands"]], ["passed", "timed-out"])


if __name__ == "__main__":
    unittest.main()
