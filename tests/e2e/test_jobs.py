"""Several jobs at once: verdicts, output that stays apart, and nothing left behind."""

import hashlib
import json
import os
import pty
import select
import signal
import time
import unittest
import xml.etree.ElementTree

from kage_e2e import SIGNALS, Kage, alive, qemu_children, wait_until

JOB = """
    version: 1
    name: {name}
    image: tiny
    commands:
      - name: c
        run: |
          {script}
    """


def children(pid):
    """All processes that descend from `pid`."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        direct = [int(p) for p in f.read().split()]
    found = list(direct)
    for child in direct:
        try:
            found += children(child)
        except OSError:
            pass
    return found


def machines(pid):
    """The QEMUs of all workers of a kage."""
    try:
        return [q for c in children(pid) for q in qemu_children(c)]
    except OSError:
        return []


class Jobs(Kage):
    def job(self, name, script, file=None):
        return self.spec(JOB.format(name=name, script=script.replace("\n", "\n          ")),
                         file or f"{name}.yaml")

    def run_jobs(self, *args, **kwargs):
        result = self.path("result.json")
        p = self.kage("apply", "--result", result, *args, **kwargs)
        with open(result) as f:
            p.result = json.load(f)
        return p

    def verdicts(self, p):
        return [j["verdict"] for j in p.result["jobs"]]


class Verdicts(Jobs):
    def test_several_specs_with_one_that_fails(self):
        self.job("a", "echo one; exit 0")
        self.job("b", "echo two; exit 5")
        self.job("c", "echo three; exit 6")
        junit = self.path("junit.xml")
        p = self.run_jobs("--junit", junit, "--jobs", "3", "a.yaml", "b.yaml", "c.yaml")
        self.assert_code(p, 5)
        self.assertEqual(sorted(p.out.split()), [b"one", b"three", b"two"])
        self.assertEqual(self.verdicts(p), ["passed", "failed", "failed"])
        self.assertEqual([j["exit_code"] for j in p.result["jobs"]], [0, 5, 6])
        self.assertEqual([j["spec"] for j in p.result["jobs"]], ["a.yaml", "b.yaml", "c.yaml"])
        self.assertEqual((p.result["verdict"], p.result["exit_code"]), ("failed", 5))
        self.assertEqual(p.result["source"], p.result["jobs"][1]["source"])
        self.assertNotIn("spec", p.result)
        self.assertIn(b"2 of 3 jobs did not pass", p.err)
        for line in (b"failed      5", b"failed      6"):
            self.assertIn(line, p.err)
        suites = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual([(s.get("name"), s.get("failures")) for s in suites],
                         [("a", "0"), ("b", "1"), ("c", "1")])

    def test_folders_and_patterns(self):
        for i in range(3):
            self.job(f"n{i}", f"echo {i}", f"specs/{i}.yaml")
        p = self.kage("apply", "--jobs=2", "specs")
        self.assert_code(p, 0)
        self.assertEqual(sorted(p.out.split()), [b"0", b"1", b"2"])
        p = self.kage("apply", "specs/[01].yaml")
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"0\n1\n")
        p = self.kage("apply", "specs/x*.yaml")
        self.assert_code(p, 125)
        self.assertIn(b"nothing matches", p.err)

    def test_errors_in_any_spec_are_all_shown_and_nothing_runs(self):
        self.job("good", "echo ran")
        self.spec("version: 1\nimage: tiny\ncommands:\n  - {rum: x}\n", "one.yaml")
        self.spec("version: 1\nimage: tiny\ncommands: 3\n", "two.yaml")
        p = self.kage("apply", "--jobs", "2", "good.yaml", "one.yaml", "gone.yaml", "two.yaml")
        self.assert_code(p, 125)
        self.assertEqual(p.out, b"")
        for text in (b"one.yaml:4", b"two.yaml:3", b"gone.yaml"):
            self.assertIn(text, p.err)

    def test_a_matrix_in_parallel_is_the_same_as_one_by_one(self):
        self.spec("""
            version: 1
            name: m
            image: tiny
            matrix: {a: ["1", "2"], b: [x, y]}
            commands:
              - {exec: [sh, -c, 'echo $0; exit $1', "${matrix.a}${matrix.b}", "${matrix.a}"], expect: {exit: [1]}}
            """)
        results = []
        for jobs in ("1", "4"):
            p = self.run_jobs("--jobs", jobs, "job.yaml")
            self.assert_code(p, 2)
            self.assertEqual(sorted(p.out.split()), [b"1x", b"1y", b"2x", b"2y"])
            for job in p.result["jobs"]:
                for key in ("boot_ms", "duration_ms"):
                    del job[key]
                for command in job["commands"]:
                    del command["duration_ms"]
            del p.result["duration_ms"]
            results.append(p.result)
        self.assertEqual(*results)

    def test_same_names_are_told_apart(self):
        self.job("same", "exit 1", "a/j.yaml")
        self.job("same", "exit 2", "b/j.yaml")
        junit = self.path("j.xml")
        p = self.run_jobs("--jobs", "2", "--junit", junit, "a/j.yaml", "b/j.yaml", "b/j.yaml")
        self.assert_code(p, 1)
        labels = ["same [a/j.yaml]", "same [b/j.yaml] #1", "same [b/j.yaml] #2"]
        self.assertEqual([j["label"] for j in p.result["jobs"]], labels)
        self.assertEqual([s.get("name") for s in xml.etree.ElementTree.parse(junit).getroot()], labels)
        for label in labels:
            self.assertIn(label.encode(), p.err)

    def test_attempts_artifacts_and_secrets_come_through(self):
        for name in ("x", "y"):
            self.spec(f"""
                version: 1
                name: {name}
                image: tiny
                secrets: {{S: {{env: S}}}}
                commands:
                  - {{name: flaky, run: 'test -e /tmp/f || {{ touch /tmp/f; exit 3; }}', retries: 2}}
                  - {{name: leak, run: 'echo $S; echo {name} > /tmp/out; exit 4', secrets: [S]}}
                artifacts: [{{path: /tmp/out, to: out/{name}, when: always}}]
                """, f"{name}.yaml")
        p = self.run_jobs("--jobs=2", "x.yaml", "y.yaml", env={**os.environ, "S": "hush-hush"})
        self.assert_code(p, 4)
        self.assertNotIn(b"hush", p.out + p.err + json.dumps(p.result).encode())
        self.assertEqual(p.out, b"***\n***\n")
        for name, job in zip("xy", p.result["jobs"]):
            self.assertEqual([a["exit_code"] for a in job["commands"][0]["attempts"]], [3, 0])
            self.assertEqual(job["artifacts"][0]["status"], "copied")
            with open(self.path("out", name)) as f:
                self.assertEqual(f.read(), f"{name}\n")

    def test_an_image_that_cannot_be_had_fails_its_jobs_only(self):
        self.job("good", "echo good")
        self.spec("version: 1\nname: bad\nimage: {path: gone.img}\ncommands: [{run: 'true'}]\n", "bad.yaml")
        p = self.run_jobs("--jobs=2", "bad.yaml", "good.yaml")
        self.assert_code(p, 125)
        self.assertEqual(p.out, b"good\n")
        self.assertEqual([(j["verdict"], j["class"]) for j in p.result["jobs"]],
                         [("error", "image"), ("passed", "none")])
        p = self.run_jobs("--jobs=2", "bad.yaml", "bad.yaml", timeout=20)
        self.assert_code(p, 125)
        self.assertEqual(self.verdicts(p), ["error", "error"])

    def test_timings_of_each_job(self):
        self.job("a", "true")
        self.job("b", "true")
        p = self.kage("apply", "--jobs=2", "--timings", "--trace", "trace.json", "a.yaml", "b.yaml")
        self.assert_code(p, 0)
        for name in (b"a", b"b"):
            self.assertIn(b"kage: timings of %s, in ms\n" % name, p.err)
        self.assertEqual(p.err.count(b"guest: run c"), 2)
        with open(self.path("trace.json")) as f:
            events = json.load(f)["traceEvents"]
        for pid in (1, 2):
            self.assertIn("look for a template", [e["name"] for e in events if e["pid"] == pid])

    def test_bad_options(self):
        spec = self.job("a", "true")
        for args, text in ((["--jobs", "0"], b"1 to"), (["--jobs", "many"], b"auto"), (["-j", "-1"], b"1 to"),
                           (["--output", "neat"], b"grouped or prefixed"), (["-", "-"], b"only once"),
                           (["--result", "r", "--junit", "r"], b"a file of their own"),
                           (["--trace", "r", "--junit", "r"], b"a file of their own")):
            with self.subTest(args):
                p = self.kage("apply", *args, spec)
                self.assert_code(p, 125)
                self.assertIn(text, p.err)

    def test_auto(self):
        for i in range(3):
            self.job(f"n{i}", f"echo {i}")
        p = self.kage("apply", "--jobs", "auto", "n0.yaml", "n1.yaml", "n2.yaml")
        self.assert_code(p, 0)
        self.assertEqual(sorted(p.out.split()), [b"0", b"1", b"2"])


class Cancelled(Jobs):
    def test_fail_fast(self):
        self.job("slow", "echo slow; sleep 100")
        self.job("bad", "sleep 1; exit 7")
        self.job("late", "echo late")
        junit = self.path("j.xml")
        p = self.start("apply", "--fail-fast", "--jobs=2", "--result", self.path("r.json"), "--junit", junit,
                       "slow.yaml", "bad.yaml", "late.yaml")
        out, err = p.communicate(timeout=60)
        p.out, p.err = out, err
        self.assert_code(p, 7)
        self.assertNotIn(b"late\n", out)
        with open(self.path("r.json")) as f:
            result = json.load(f)
        self.assertEqual([j["verdict"] for j in result["jobs"]], ["cancelled", "failed", "cancelled"])
        self.assertEqual((result["verdict"], result["exit_code"]), ("failed", 7))
        self.assertIn("bad did not pass", result["jobs"][0]["message"])
        suites = list(xml.etree.ElementTree.parse(junit).getroot())
        self.assertEqual([(s.get("errors"), s.get("failures"), s.get("skipped")) for s in suites],
                         [("0", "0", "1"), ("0", "1", "0"), ("0", "0", "1")])

    def test_fail_fast_one_by_one(self):
        self.job("bad", "exit 7")
        self.job("late", "echo late")
        p = self.run_jobs("--fail-fast", "bad.yaml", "late.yaml")
        self.assert_code(p, 7)
        self.assertEqual(p.out, b"")
        self.assertEqual(self.verdicts(p), ["failed", "cancelled"])


class Output(Jobs):
    def test_grouped_output_is_whole_and_never_mixed(self):
        """3 MiB on each stream of each job, written at the same time: more than is kept in memory."""
        script = ("awk 'BEGIN { for (i = 0; i < 49152; i++) printf \"%s %057d\\n\", \"NAME\", i }'\n"
                  "awk 'BEGIN { for (i = 0; i < 49152; i++) printf \"%s %057d\\n\", \"name\", i }' >&2\n"
                  "printf 'end NAME'")
        wanted = {}
        for name in ("aaaaa", "bbbbb", "ccccc"):
            self.job(name, script.replace("NAME", name.upper()).replace('"name"', f'"{name}"'))
            lines = "".join(f"{name.upper()} {i:057d}\n" for i in range(49152)) + f"end {name.upper()}"
            wanted[name] = hashlib.sha256(lines.encode()).hexdigest()
        p = self.kage("apply", "--jobs=3", "--quiet", "aaaaa.yaml", "bbbbb.yaml", "ccccc.yaml")
        self.assertEqual(p.returncode, 0)
        size = len(p.out) // 3
        self.assertGreater(size, 3 << 20)
        parts = {p.out[i * size: (i + 1) * size] for i in range(3)}
        self.assertEqual({hashlib.sha256(part).hexdigest() for part in parts}, set(wanted.values()))
        names = [line[:5] for line in p.err.splitlines()]
        runs = [n for i, n in enumerate(names) if i == 0 or names[i - 1] != n]
        self.assertEqual(sorted(runs), [b"aaaaa", b"bbbbb", b"ccccc"])
        self.assertEqual(len(names), 3 * 49152)

    def test_grouped_keeps_the_order_of_the_streams(self):
        self.job("a", "for i in 1 2 3; do echo $i; sleep 0.3; echo e$i >&2; sleep 0.3; done")
        self.job("b", "true")
        with open(self.path("both"), "wb") as both:
            p = self.start("apply", "--jobs=2", "--quiet", "a.yaml", "b.yaml", stdout=both, stderr=both)
            self.assertEqual(p.wait(timeout=60), 0)
        with open(self.path("both"), "rb") as both:
            self.assertEqual(both.read(), b"1\ne1\n2\ne2\n3\ne3\n")

    def test_headers(self):
        self.job("a", "echo hi >&2")
        self.job("b", "exit 3")
        p = self.kage("apply", "--jobs=2", "a.yaml", "b.yaml")
        self.assertIn(b"kage: job 1 of 2: a\nhi\n", p.err)
        self.assertIn(b"kage: job 2 of 2: b\nkage: b.yaml:5:", p.err)
        p = self.kage("apply", "--jobs=2", "--quiet", "a.yaml", "a.yaml")
        self.assertEqual(p.err, b"hi\nhi\n")

    def test_prefixed_lines_are_complete(self):
        self.job("one", "for i in $(seq 200); do echo line $i; printf e >&2; echo rr >&2; done; printf last")
        self.job("three", "printf 'a\\000b\\377\\n'; for i in $(seq 200); do printf 'li'; printf 'ne\\n'; done; exit 9")
        p = self.kage("apply", "--jobs=2", "--output=prefixed", "one.yaml", "three.yaml")
        self.assert_code(p, 9)
        lines = p.out.split(b"\n")
        self.assertEqual(lines.pop(), b"")
        self.assertEqual([line for line in lines if line.startswith(b"one   | ")],
                         [f"one   | line {i + 1}".encode() for i in range(200)] + [b"one   | last"])
        self.assertEqual([line for line in lines if line.startswith(b"three | ")],
                         [b"three | a\0b\xff"] + [b"three | line"] * 200)
        self.assertEqual(len(lines), 402)
        self.assertEqual(p.err.count(b"one   | err\n"), 200)
        self.assertIn(b"three | kage: three.yaml:5:", p.err)

    def test_prefixed_much_output_to_a_slow_reader(self):
        self.job("a", "yes 'some line of text' | head -c 4000000")
        self.job("b", "yes 'another line' | head -c 4000000")
        p = self.start("apply", "--jobs=2", "--output=prefixed", "a.yaml", "b.yaml")
        got = b""
        time.sleep(2)
        while chunk := os.read(p.stdout.fileno(), 65536):
            got += chunk
            time.sleep(0.001)
        self.assertEqual(p.wait(timeout=60), 0, p.stderr.read())
        self.assertEqual(got.count(b"a | some line of text\n"), 4000000 // 18)
        self.assertEqual(got.count(b"b | another line\n"), 4000000 // 13)

    def test_one_job_passes_straight_through(self):
        self.job("a", "printf 'no end'")
        p = self.kage("apply", "--jobs=4", "a.yaml")
        self.assertEqual((p.returncode, p.out, p.err), (0, b"no end", b""))
        p = self.kage("apply", "--output=prefixed", "a.yaml")
        self.assertEqual((p.returncode, p.out, p.err), (0, b"a | no end\n", b""))

    def test_a_closed_standard_output_ends_all(self):
        for name in "abc":
            self.job(name, "yes", f"{name}.yaml")
        p = self.start("apply", "--jobs=2", "--output=prefixed", "--result", self.path("r.json"),
                       "a.yaml", "b.yaml", "c.yaml")
        p.stdout.read(1)
        found = machines(p.pid)
        p.stdout.close()
        p.stdout = None
        _, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 125, err)
        for pid in found:
            self.assert_gone(pid)
        with open(self.path("r.json")) as f:
            result = json.load(f)
        self.assertEqual({j["class"] for j in result["jobs"]}, {"host"})
        self.assertIn("cannot write", result["message"])

    def test_a_full_standard_output_is_told(self):
        for name in "ab":
            self.job(name, "echo out")
        for how in ("grouped", "prefixed"):
            with self.subTest(how), open("/dev/full", "wb") as full:
                p = self.start("apply", "--jobs=2", "--output", how, "a.yaml", "b.yaml", stdout=full)
                _, err = p.communicate(timeout=60)
                self.assertEqual(p.returncode, 125, err)
                self.assertIn(b"cannot write the commands' output: No space left", err)

    def test_a_file_s_name_cannot_write_to_the_terminal(self):
        for name in ("a\x1b[31m\nb.yaml", os.fsdecode(b"c\xff.yaml")):
            self.job("bad", "exit 3", name)
        p = self.run_jobs("--jobs=2", "--trace", "t.json", "--timings", ".")
        self.assert_code(p, 3)
        self.assertNotIn(b"\x1b", p.err)
        self.assertIn(b"kage: ./a\\x1b[31m\\x0ab.yaml:5:5: command", p.err)
        with open(self.path("t.json"), encoding="utf-8") as f:
            self.assertIn("c\\xff.yaml", json.dumps(json.load(f)).replace("\\\\", "\\"))

    def test_output_that_cannot_be_kept_fails_the_job(self):
        self.job("big", "yes | head -c 3000000")
        self.job("small", "echo small")
        p = self.run_jobs("--jobs=2", "big.yaml", "small.yaml", env={**os.environ, "TMPDIR": "/dev/null/none"})
        self.assert_code(p, 125)
        self.assertIn(b"cannot keep the commands' output in /dev/null/none", p.err)
        self.assertEqual(self.verdicts(p), ["error", "passed"])

    def test_on_a_terminal_lines_are_prefixed_and_a_status_line_shows(self):
        self.job("a", "sleep 1; echo from-a")
        self.job("b", "sleep 1; echo from-b; exit 3")
        main, side = pty.openpty()
        p = self.start("apply", "--jobs=2", "a.yaml", "b.yaml", stdout=side, stderr=side)
        os.close(side)
        text = b""
        while select.select([main], [], [], 60)[0]:
            try:
                chunk = os.read(main, 4096)
            except OSError:
                break
            if not chunk:
                break
            text += chunk
        os.close(main)
        self.assertEqual(p.wait(timeout=30), 3)
        self.assertIn(b"a | from-a\r\n", text)
        self.assertIn(b"\r\x1b[Kkage: 0 of 2 done; running: a, b", text)
        self.assertIn(b"kage: passed      0", text)
        self.assertIn(b"kage: failed      3", text)


class Ends(Jobs):
    def sleepers(self, n=3):
        for i in range(n):
            self.job(f"s{i}", "echo started; sleep 1000")
        return [f"s{i}.yaml" for i in range(n)]

    def up(self, *args, n=2):
        """Starts sleepers, two at once; waits until both print."""
        p = self.start("apply", "--jobs", str(n), "--output=prefixed", "--result", self.path("r.json"),
                       *args, *self.sleepers(n + 1))
        for _ in range(n):
            self.assertIn(b"| started", p.stdout.readline())
        found = machines(p.pid)
        self.assertEqual(len(found), n)
        return p, found, children(p.pid)

    def test_int_term_and_hup_end_all(self):
        for name, number in SIGNALS.items():
            with self.subTest(name):
                p, found, workers = self.up()
                p.send_signal(number)
                out, err = p.communicate(timeout=20)
                self.assertEqual(p.returncode, 128 + number, err)
                for pid in found + workers:
                    self.assertFalse(alive(pid))
                with open(self.path("r.json")) as f:
                    result = json.load(f)
                self.assertEqual([(j["class"], j["exit_code"]) for j in result["jobs"]],
                                 [("interrupted", 128 + number)] * 3)
                self.assertEqual(result["exit_code"], 128 + number)

    def test_the_terminal_s_interrupt_reaches_each_job_once(self):
        """^C goes to the whole process group; the verdicts and what was printed must still come."""
        p = self.start("apply", "--jobs=2", "--result", self.path("r.json"), *self.sleepers(), start_new_session=True)
        self.assertTrue(wait_until(lambda: len(machines(p.pid)) == 2, 60))
        time.sleep(2)
        os.killpg(p.pid, signal.SIGINT)
        out, err = p.communicate(timeout=20)
        self.assertEqual(p.returncode, 130, err)
        self.assertEqual(out, b"started\nstarted\n")

    def test_a_signal_that_comes_twice_at_once_is_one(self):
        # as timeout(1) sends it: to kage and then to its process group
        p = self.start("apply", "--jobs=2", "--output=grouped", *self.sleepers(2))
        self.assertTrue(wait_until(lambda: len(machines(p.pid)) == 2, 60))
        time.sleep(2)
        found = machines(p.pid)
        for _ in range(2):
            p.send_signal(signal.SIGTERM)
            time.sleep(0.003)
        out, err = p.communicate(timeout=20)
        self.assertEqual(p.returncode, 143)
        self.assertEqual(out.count(b"started"), 2)
        self.assertIn(b"jobs did not pass", err)
        for pid in found:
            self.assert_gone(pid)

    def test_a_signal_while_nobody_reads(self):
        for name in "ab":
            self.job(name, "yes")
        for signals in (1, 2):
            p = self.start("apply", "--jobs=2", "--output=prefixed", "a.yaml", "b.yaml")
            self.assertTrue(wait_until(lambda: len(machines(p.pid)) == 2, 60))
            time.sleep(2)
            found = machines(p.pid)
            for _ in range(signals):
                p.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            self.assertEqual(p.wait(timeout=15), 143)
            for pid in found:
                self.assert_gone(pid)

    def test_kill_9_of_kage_leaves_nothing(self):
        p, found, workers = self.up()
        p.kill()
        p.wait()
        for pid in found + workers:
            self.assert_gone(pid, 2)

    def test_a_worker_that_is_killed_is_a_job_without_a_verdict(self):
        p, found, _ = self.up()
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            worker = int(f.read().split()[0])
        os.kill(worker, signal.SIGKILL)
        self.assertIn(b"started", p.stdout.readline())  # the third one takes its place
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=20)
        with open(self.path("r.json")) as f:
            jobs = json.load(f)["jobs"]
        self.assertIn("internal", [j["class"] for j in jobs])
        broken = next(j for j in jobs if j["class"] == "internal")
        self.assertEqual((broken["verdict"], broken["exit_code"]), ("error", 125))
        self.assertIn("killed by SIGKILL", broken["message"])
        for pid in found:
            self.assert_gone(pid)


class Many(Jobs):
    def test_many_at_once_without_cross_talk(self):
        n = int(os.environ.get("KAGE_TEST_PARALLEL", "8"))
        names = []
        for i in range(n):
            self.job(f"j{i}", f"echo {i} > /tmp/mine; sleep 1; cat /tmp/mine; exit {i + 1}")
            names.append(f"j{i}.yaml")
        p = self.run_jobs("--jobs", str(n), "--output=prefixed", *names)
        self.assert_code(p, 1)
        self.assertEqual([j["exit_code"] for j in p.result["jobs"]], [i + 1 for i in range(n)])
        lines = sorted(line.split(b" | ") for line in p.out.splitlines())
        self.assertEqual({(a.strip(), b) for a, b in lines}, {(f"j{i}".encode(), f"{i}".encode()) for i in range(n)})

    def pss(self, n):
        """KiB that kage and all it started take, shared pages split among those that share them."""
        names = [self.job(f"s{i}", "echo up; sleep 1000") for i in range(n)]
        p = self.start("apply", "--jobs", str(n), "--output=prefixed", *names)
        for _ in range(n):
            p.stdout.readline()
        time.sleep(2)
        total = 0
        for pid in [p.pid, *children(p.pid)]:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += int(next(line for line in f if line.startswith("Pss:")).split()[1])
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=30)
        return total

    def test_memory_of_a_further_machine(self):
        n = int(os.environ.get("KAGE_TEST_PARALLEL", "6"))
        self.assertLess((self.pss(n) - self.pss(2)) / (n - 2) / 1024, 60)

    def test_first_runs_at_once_make_one_template(self):
        images = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kage")
        os.makedirs(self.path("cache", "kage"), mode=0o700)
        for name in ("images", "parts", "kernels"):
            if os.path.isdir(os.path.join(images, name)):
                os.symlink(os.path.join(images, name), self.path("cache", "kage", name))
        env = {**os.environ, "XDG_CACHE_HOME": self.path("cache")}
        names = []
        for i in range(4):
            self.job(f"j{i}", "echo $((7 * 6))")
            names.append(f"j{i}.yaml")
        p = self.kage("apply", "--jobs=4", *names, env=env)
        self.assert_code(p, 0)
        templates = os.listdir(self.path("cache", "kage", "templates"))
        self.assertEqual(len(templates), 1, templates)
        self.assertNotIn(b"template", p.err)


if __name__ == "__main__":
    unittest.main()
