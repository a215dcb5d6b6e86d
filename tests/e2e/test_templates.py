"""Warm starts: clones of one saved machine are correct, independent and never corrupt."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from kage_e2e import KAGE, Kage, qemu_children, wait_until

IDENTITY = """
    version: 1
    image: tiny
    commands:
      - run: |
          head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo
          cat /proc/sys/kernel/random/boot_id /etc/machine-id
          date +%s
          awk 'BEGIN { srand(); print rand() }' > /dev/null
    """


class Templates(Kage):
    def setUp(self):
        super().setUp()
        # A cache of the test's own, with the images of the user's: building one takes a while.
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kage")
        os.makedirs(self.path("cache", "kage"), mode=0o700)
        os.chmod(self.path("cache"), 0o700)
        for name in ("images", "parts", "kernels"):
            if os.path.isdir(os.path.join(cache, name)):
                subprocess.run(["cp", "-a", "--reflink=auto", os.path.join(cache, name), self.path("cache", "kage")],
                               check=True)
        self.env = {**os.environ, "XDG_CACHE_HOME": self.path("cache")}
        self.templates = self.path("cache", "kage", "templates")

    def warm(self, text, *args):
        return self.apply(text, *args, env=self.env)

    def keys(self):
        return [n for n in os.listdir(self.templates) if not n.startswith(".")] if os.path.isdir(self.templates) else []

    def saving(self):
        for name in os.listdir(self.templates) if os.path.isdir(self.templates) else []:
            try:
                if name.startswith(".new-") and os.path.getsize(os.path.join(self.templates, name, "state")):
                    return True
            except OSError:
                pass  # gone in between
        return False

    def test_the_first_run_makes_one_and_the_second_is_much_faster(self):
        first, second = self.warm(IDENTITY), self.warm(IDENTITY)
        self.assert_code(first, 0)
        self.assert_code(second, 0)
        self.assertEqual(len(self.keys()), 1)
        cold = self.warm(IDENTITY, "--cold")
        self.assertLess(second.result["boot_ms"] * 2, cold.result["boot_ms"])
        listing = self.kage("template", "ls", env=self.env)
        self.assertIn(self.keys()[0][:12].encode(), listing.out)
        self.assert_code(self.kage("template", "rm", "--all", env=self.env), 0)
        self.assertEqual(self.keys(), [])

    def test_ten_clones_at_once_differ_and_know_the_time(self):
        self.assert_code(self.warm(IDENTITY), 0)
        spec = self.path("job.yaml")
        runs = [self.start("apply", spec, env=self.env) for _ in range(10)]
        seen = {"random": set(), "boot": set(), "machine": set()}
        for run in runs:
            out, err = run.communicate(timeout=240)
            self.assertEqual(run.returncode, 0, err)
            rand, boot, machine, clock = out.decode().split("\n")[:4]
            seen["random"].add(rand)
            seen["boot"].add(boot)
            seen["machine"].add(machine)
            self.assertLess(abs(int(clock) - time.time()), 60)
        for name, values in seen.items():
            self.assertEqual(len(values), 10, name)

    def test_shares_network_and_disk_work_from_a_template(self):
        os.mkdir(self.path("a"))
        os.mkdir(self.path("b"))
        for name in ("a", "b"):
            self.write(f"{name}/who", f"{name}\n")
            p = self.warm(
                f"""
                version: 1
                image: tiny
                network: on
                shares:
                  s: {{path: {name}, writable: true}}
                mounts:
                  - {{type: share, source: s, target: /s}}
                users:
                  u: {{uid: 1000}}
                commands:
                  - run: cat /s/who; touch /s/new; ip route | grep -c default
                """
            )
            self.assert_code(p, 0)
            self.assertEqual(p.out.decode(), f"{name}\n1\n")
            self.assertTrue(os.path.exists(self.path(name, "new")))
        self.assertEqual(len(self.keys()), 1)

    def test_another_machine_is_another_template(self):
        self.warm(IDENTITY)
        self.warm(IDENTITY.replace("image: tiny", "image: tiny\n    machine: {memory: 256MiB}"))
        self.assertEqual(len(self.keys()), 2)

    def test_the_disk_is_the_size_the_spec_says(self):
        for size in (100, 200):
            p = self.warm(f"""
                version: 1
                image: tiny
                machine: {{disk: {size}MiB}}
                commands:
                  - run: cat /sys/block/vda/size
                """)
            self.assert_code(p, 0)
            self.assertEqual(int(p.out) * 512, size << 20)

    def test_a_run_that_fails_for_its_own_reasons_keeps_the_template(self):
        self.warm(IDENTITY)
        before = self.keys()
        p = self.warm("timeout: 50ms" + IDENTITY.replace("\n    ", "\n"))
        self.assert_code(p, 124)
        self.assertEqual(self.keys(), before)

    def test_looking_at_templates_does_not_disturb_runs(self):
        self.warm(IDENTITY)
        looking = subprocess.Popen(["sh", "-c", f"while '{KAGE}' template ls; do :; done"], env=self.env,
                                   stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            for _ in range(8):
                p = self.warm(IDENTITY)
                self.assert_code(p, 0)
                self.assertLess(p.result["boot_ms"], 5000)
        finally:
            os.killpg(looking.pid, signal.SIGKILL)
            looking.wait()
        self.assertEqual(len(self.keys()), 1)

    def test_an_interrupt_anywhere_in_a_first_run_ends_it(self):
        spec = self.spec(IDENTITY)
        for i in range(6):
            p = self.start("apply", spec, env=self.env)
            # The state is written in a few milliseconds right before the machine is restored.
            while p.poll() is None and not self.saving():
                time.sleep(0.0005)
            if p.poll() is not None:
                continue  # the moment was missed
            time.sleep(i * 0.004)
            p.send_signal(signal.SIGTERM)
            out, err = p.communicate(timeout=30)
            # Told between two machines it dies of the signal itself; a shell shows both as 143.
            self.assertIn(p.returncode, (143, -15), (i, out, err))
            for name in self.keys():
                shutil.rmtree(os.path.join(self.templates, name))

    def test_one_run_after_another(self):
        spec = self.spec("""
            version: 1
            image: tiny
            commands:
              - {run: "cat /proc/sys/kernel/random/uuid; exit 7", expect: {exit: 7}}
            """)
        said = set()
        for i in range(int(os.environ.get("KAGE_TEST_APPLIES", "12"))):
            p = self.kage("apply", spec, env=self.env)
            self.assertEqual((p.returncode, len(p.out), p.err), (0, 37, b""), i)
            self.assertNotIn(p.out, said)
            said.add(p.out)

    def test_a_sandbox_made_ahead_is_like_any_other(self):
        os.makedirs(self.path("src"))
        with open(self.path("src", "file"), "w") as f:
            f.write("shared")
        spec = f"""
            version: 1
            image: tiny
            shares: {{src: {{path: {self.path("src")}}}}}
            mounts: [{{type: share, source: src, target: /src}}]
            users: {{dev: {{uid: 1000}}}}
            commands:
              - {{user: dev, run: &report "cat /src/file; id; env; pwd; cat /proc/self/mounts; hostname; ip addr || :; ls -l /dev; ls -l /proc/1/ || :;
                grep -E 'Cap|Sec|NoNew|Groups' /proc/self/status; ulimit -a; cat /proc/self/oom_score_adj; echo $$"}}
              - {{run: *report}}
              - {{sandbox: strict, run: *report}}
            """
        self.assert_code(self.warm(spec), 0)
        warm, cold = self.warm(spec), self.warm(spec, "--cold")
        self.assert_code(warm, 0)

        def settled(out):
            # But for times and the order of mounts: a share came after /proc in the one case.
            return sorted(" ".join(w for w in line.split() if ":" not in w or "=" in w) for line in out.decode().splitlines())

        self.assertEqual(settled(warm.out), settled(cold.out))

    def test_a_changed_template_is_thrown_away(self):
        self.warm(IDENTITY)
        key = self.keys()[0]
        for name in ("ram", "state"):
            with self.subTest(name):
                path = os.path.join(self.templates, key, name)
                # Held open: the file system may give a deleted file's number to the next one.
                held = os.open(path, os.O_RDONLY)
                self.addCleanup(os.close, held)
                before = os.fstat(held)
                with open(path, "r+b") as f:
                    f.seek(4096)
                    f.write(b"\xff" * 64)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
                p = self.warm(IDENTITY)
                self.assert_code(p, 0)
                self.assertNotEqual(os.stat(path).st_ino, before.st_ino)

    def test_a_template_that_does_not_start_is_replaced_by_a_boot(self):
        self.warm(IDENTITY)
        folder = os.path.join(self.templates, self.keys()[0])
        state, meta = os.path.join(folder, "state"), os.path.join(folder, "meta.json")
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
        p = self.warm(IDENTITY)
        self.assert_code(p, 0)
        self.assertEqual(p.err, b"")
        self.assertEqual(self.keys(), [])
        self.assert_code(self.warm(IDENTITY), 0)
        self.assertEqual(len(self.keys()), 1)

    def test_removing_takes_the_one_that_is_meant(self):
        self.warm(IDENTITY)
        key = self.keys()[0]
        for wrong in ("", key[:3], "zzzz", key[:4] + "\x1b", "g" + key, key + "0", "0" * 32):
            with self.subTest(wrong):
                p = self.kage("template", "rm", wrong, env=self.env)
                self.assert_code(p, 1)
                self.assertNotIn(b"\x1b", p.err)
                self.assertEqual(self.keys(), [key])
        twin = key[:4] + ("0" if key[4] != "0" else "1") + key[5:]
        shutil.copytree(os.path.join(self.templates, key), os.path.join(self.templates, twin))
        p = self.kage("template", "rm", key[:4], env=self.env)
        self.assert_code(p, 1)
        self.assertIn(b"more than one", p.err)
        self.assertEqual(len(self.keys()), 2)
        self.assert_code(self.kage("template", "rm", key[:5], env=self.env), 0)
        self.assertEqual(self.keys(), [twin])

    def test_build_fails_when_no_template_came_out(self):
        spec = self.spec(IDENTITY)
        self.assert_code(self.kage("template", "build", spec, env=self.env), 0)
        key = self.keys()[0]
        self.assert_code(self.kage("template", "rm", key, env=self.env), 0)
        work = self.path("cache", "kage", "templates", f".new-{key}")
        os.mkdir(work, 0o700)
        with open(os.path.join(work, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as another kage does that makes it
            p = self.kage("template", "build", spec, env=self.env)
        self.assert_code(p, 125)
        self.assertIn(b"no template", p.err)

    def test_files_are_private(self):
        self.warm(IDENTITY)
        for folder, _, files in os.walk(self.templates):
            self.assertEqual(os.stat(folder).st_mode & 0o077, 0)
            for name in files:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0)

    def test_a_machine_that_stays_has_its_own_without_its_token(self):
        self.warm(IDENTITY)
        applied = set(self.keys())
        os.mkdir(self.path("run"), 0o700)
        env = {**self.env, "XDG_RUNTIME_DIR": self.path("run")}
        p = self.kage("start", "--network", "tiny", env=env)
        self.assert_code(p, 0)
        vm = p.out.decode().strip()
        try:
            key, = set(self.keys()) - applied
            with open(self.path("run", "kage", vm, "token"), "rb") as f:
                token = f.read().strip()
            self.assertEqual(len(token), 64)
            for name in ("ram", "state"):
                with open(os.path.join(self.templates, key, name), "rb") as f:
                    self.assertNotIn(token, f.read(), name)
            # Its own card and the commands' are told apart.
            p = self.kage("exec", vm, "--network", "--", "sh", "-c", "ls /sys/class/net; ip -4 -o addr show eth0", env=env)
            self.assert_code(p, 0)
            self.assertEqual(p.out.split()[:2], [b"eth0", b"lo"])
            self.assertIn(b"10.0.3.15/24", p.out)
        finally:
            self.assert_code(self.kage("stop", vm, env=env), 0)

    def test_nothing_outlives_its_command(self):
        spec = """
            version: 1
            image: tiny
            users: {tester: {uid: 1000}}
            commands:
              - run: &leave |
                  cd /tmp
                  (setsid sh -c 'trap : TERM HUP; while :; do echo >>beats; sleep 0.02; done' &)
                  until [ -s beats ]; do sleep 0.1; done
                  exit 5
                expect: {exit: 5}
              - run: &still |
                  cd /tmp
                  before=$(wc -c <beats); sleep 0.3; after=$(wc -c <beats); rm beats
                  [ $before = $after ] && ! pidof sleep
              - run: *leave
                user: tester
                expect: {exit: 5}
              - run: *still
            """
        for options in ((), (), ("--cold",)):
            self.assert_code(self.apply(spec, *options, env=self.env), 0)

    def test_kill_9_while_making_and_using(self):
        spec = self.spec(IDENTITY)
        rng = random.Random(7)
        for i in range(int(os.environ.get("KAGE_TEST_KILLS", "12"))):
            if i % 3 == 0 and os.path.isdir(self.templates):
                for name in self.keys():
                    shutil.rmtree(os.path.join(self.templates, name))
            p = self.start("apply", spec, env=self.env)
            time.sleep(rng.uniform(0.02, 2.5))
            children = qemu_children(p.pid)
            p.kill()
            p.communicate()
            for pid in children:
                self.assert_gone(pid)
        for _ in range(2):
            p = self.warm(IDENTITY)
            self.assert_code(p, 0)
        self.assertEqual(len(self.keys()), 1)
        self.assertEqual(os.listdir(self.templates), self.keys())

    def test_many_at_once_without_cross_talk(self):
        self.warm(IDENTITY)
        runs = []
        for i in range(int(os.environ.get("KAGE_TEST_PARALLEL", "8"))):
            spec = self.write(f"job{i}.yaml", f"""
                version: 1
                image: tiny
                commands:
                  - run: echo {i} > /tmp/mine; sleep 1; cat /tmp/mine; exit {i + 1}
                """)
            runs.append(self.start("apply", spec, env=self.env))
        for i, run in enumerate(runs):
            out, err = run.communicate(timeout=240)
            self.assertEqual((run.returncode, out), (i + 1, f"{i}\n".encode()), err)


if __name__ == "__main__":
    unittest.main()
