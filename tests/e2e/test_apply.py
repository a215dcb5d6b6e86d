"""kage apply, as its users see it: bytes, codes, owners, reports."""

import hashlib
import json
import os
import socket
import subprocess
import threading
import unittest
import xml.etree.ElementTree

from kage_e2e import KAGE, SANITIZED, Kage, peak_kib

STREAM_MIB = int(os.environ.get("KAGE_TEST_STREAM_MIB", "48"))


class Output(Kage):
    def test_every_byte_value_and_both_streams(self):
        p = self.apply(
            r"""
            version: 1
            image: tiny
            commands:
              - run: |
                  i=0
                  while [ $i -lt 256 ]; do
                    printf "\\$(printf %03o $i)"
                    i=$((i + 1))
                  done
              - run: echo to-stderr >&2
              - run: printf 'no newline at the end'
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, bytes(range(256)) + b"no newline at the end")
        self.assertEqual(p.err, b"to-stderr\n")

    def test_much_output_arrives_whole_and_in_order(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            limits: {output: 128MiB}
            commands:
              - run: |
                  head -c 33554432 /dev/urandom > /tmp/data
                  cat /tmp/data
                  sha256sum < /tmp/data >&2
              - run: i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i + 1)); done >&2
            """
        )
        self.assert_code(p, 0)
        lines = p.err.decode().split("\n")
        self.assertEqual(len(p.out), 33554432)
        self.assertEqual(hashlib.sha256(p.out).hexdigest(), lines[0].split()[0])
        self.assertEqual(lines[1:-1], [str(i) for i in range(2000)])

    def test_incompressible_output_within_bounded_memory(self):
        """The bytes of a file of the host's, by way of a share. KAGE_TEST_STREAM_MIB says how many."""
        os.mkdir(self.path("in"))
        sums = [hashlib.sha256(), hashlib.sha256()]
        block = os.urandom(1 << 20)
        with open(self.path("in", "blob"), "wb") as f:
            for i in range(STREAM_MIB):
                data = i.to_bytes(8, "little") + block[8:]
                sums[0].update(data)
                f.write(data)
        job = self.spec(
            """
            version: 1
            image: tiny
            shares: {in: {path: in}}
            mounts: [{type: share, source: in, target: /in}]
            commands:
              - exec: [dd, if=/in/blob, bs=64k, status=none]
                timeout: 1h
            """
        )
        p = self.start("apply", "-q", job)
        peak = got = 0
        while data := p.stdout.read(1 << 20):
            sums[1].update(data)
            got += len(data)
            if got < STREAM_MIB << 20:
                peak = peak_kib(p.pid)
        self.assertEqual(p.wait(), 0)
        self.assertEqual((got, sums[1].hexdigest()), (STREAM_MIB << 20, sums[0].hexdigest()))
        self.assertGreater(peak, 0)
        self.assertLess(peak, (400 if SANITIZED else 32) * 1024)

    def test_output_limit_ends_the_job(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            limits: {output: 1MiB}
            commands:
              - exec: ["yes"]
            """
        )
        self.assert_code(p, 1)
        self.assertEqual(len(p.out), 1 << 20)
        self.assertIn(b"limit", p.err)

    def test_output_limit_is_for_each_command(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            limits: {output: 4KiB}
            commands:
              - run: head -c 4096 /dev/zero
              - run: head -c 4096 /dev/zero
              - run: head -c 4097 /dev/zero
            """
        )
        self.assert_code(p, 1)
        self.assertEqual(len(p.out), 3 * 4096)
        self.assertEqual([c["status"] for c in p.result["commands"]], ["passed", "passed", "failed"])

    def test_a_closed_standard_output_ends_the_run(self):
        spec = self.spec(
            """
            version: 1
            image: tiny
            commands:
              - run: while echo again; do :; done
            """
        )
        p = subprocess.run(
            ["sh", "-c", f"'{KAGE}' apply '{spec}' | head -n 1; exit 0"],
            capture_output=True, timeout=120, check=False,
        )
        self.assertEqual(p.stdout, b"again\n")
        self.assertIn(b"cannot write the commands' output", p.stderr)


class Verdicts(Kage):
    def one(self, command, code, **expect):
        p = self.apply(
            f"""
            version: 1
            image: tiny
            commands:
              - name: it
                {command}
            """
        )
        self.assert_code(p, code)
        for key, value in expect.items():
            self.assertEqual(p.result[key], value, p.result)
        return p

    def test_exit_code_passes_through(self):
        p = self.one("run: exit 7", 7, verdict="failed")
        self.assertEqual(p.result["class"], "command")
        self.assertIn(b"'it' exited with code 7", p.err)
        self.assertIn(b"job.yaml:4:", p.err)

    def test_death_by_signal(self):
        p = self.one("run: kill -SEGV $$", 139)
        self.assertEqual(p.result["class"], "signal")
        self.assertEqual(p.result["commands"][0]["signal"], 11)

    def test_timeout(self):
        p = self.one("{run: sleep 100, timeout: 1s}"[1:-1].replace(", ", "\n                "), 124)
        self.assertEqual(p.result["class"], "timeout")
        self.assertEqual(p.result["commands"][0]["status"], "timed-out")
        self.assertIn(b"timeout of 1s", p.err)

    def test_a_command_that_ignores_term_is_killed(self):
        p = self.one("run: trap '' TERM; while :; do sleep 1; done\n                timeout: 1s", 124)
        self.assertEqual(p.result["class"], "timeout")

    def test_not_found_and_not_executable(self):
        p = self.one("exec: [no-such-program]", 127)
        self.assertIn(b"no-such-program", p.err)
        self.one("exec: [/etc/passwd]", 126)

    def test_expected_failure_and_sequence(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: exit 3
                expect: {exit: [2, 3]}
              - run: exit 9
                continue-on-error: true
              - run: echo ran
              - run: echo not-yet
                when: on-failure
              - name: breaks
                run: exit 4
              - run: echo skipped
              - run: echo after-failure
                when: on-failure
              - run: echo always; exit 5
                when: always
            """
        )
        self.assert_code(p, 4)
        self.assertEqual(p.out, b"ran\nafter-failure\nalways\n")
        self.assertEqual(
            [c["status"] for c in p.result["commands"]],
            ["passed", "failed", "passed", "not-run", "failed", "not-run", "passed", "failed"],
        )
        self.assertIn(b"'breaks'", p.err)

    def test_zero_where_failure_was_expected_fails(self):
        p = self.one("run: exit 0\n                expect: {exit: 2}", 1)
        self.assertIn(b"expected 2", p.err)

    def test_job_timeout(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            timeout: 8s
            commands:
              - run: sleep 300
            """
        )
        self.assert_code(p, 124)
        self.assertIn(b"the job ran longer than its timeout of 8s", p.err)

    def test_out_of_memory_is_told(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            limits: {memory: 32MiB}
            commands:
              - run: x=a; while :; do x=$x$x; done
            """
        )
        self.assert_code(p, 137)
        self.assertIn(b"out of memory", p.err)


class Shares(Kage):
    def test_owner_mode_and_read_only(self):
        os.makedirs(self.path("src"))
        os.makedirs(self.path("out"))
        os.chmod(self.path("out"), 0o777)
        self.write("src/input", "from the host\n")
        os.symlink("input", self.path("src/link"))
        p = self.apply(
            """
            version: 1
            image: tiny
            shares:
              src: {path: src}
              out: {path: out, writable: true}
            mounts:
              - {type: share, source: src, target: /src}
              - {type: share, source: out, target: /out}
              - {type: tmpfs, target: /scratch, size: 16MiB}
            users:
              tester: {uid: 1000}
            defaults: {user: tester, cwd: /src}
            commands:
              - run: |
                  cat link
                  id -u; id -un; echo $HOME; pwd
                  cp input /out/copy
                  touch /scratch/fine
              - name: read-only stays read-only
                run: touch /src/new
                expect: {exit: 1}
              - name: remounting does not help root
                user: root
                run: mount -o remount,rw /src; touch /src/new
                expect: {exit: [1]}
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out.decode().split("\n"), ["from the host", "1000", "tester", "/home/tester", "/src", ""])
        self.assertIn(b"Read-only file system", p.err)
        with open(self.path("out/copy")) as f:
            self.assertEqual(f.read(), "from the host\n")
        if os.getuid() == 0:
            self.assertEqual(os.stat(self.path("out/copy")).st_uid, 1000)
        self.assertFalse(os.path.exists(self.path("src/new")))

    def test_awkward_names(self):
        os.makedirs(self.path("a, b=c%{qmp}"))
        self.write("a, b=c%{qmp}/f", "ok\n")
        p = self.apply(
            """
            version: 1
            image: tiny
            shares:
              odd: {path: "a, b=c%{qmp}"}
            mounts:
              - {type: share, source: odd, target: "/mnt/x y"}
            commands:
              - exec: [cat, "/mnt/x y/f"]
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"ok\n")


class Reports(Kage):
    SPEC = """
        version: 1
        name: reported
        image: tiny
        commands:
          - name: good <&>
            run: "true"
          - name: bad
            run: exit 2
          - name: never
            run: "true"
        """

    def test_junit_and_result(self):
        junit = self.path("junit.xml")
        p = self.apply(self.SPEC, "--junit", junit)
        self.assert_code(p, 2)
        suite = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual(suite.attrib["failures"], "1")
        self.assertEqual(suite.attrib["skipped"], "1")
        self.assertEqual(suite[0].attrib["name"], "good <&>")
        self.assertEqual(suite[1][0].tag, "failure")
        self.assertEqual(p.result["name"], "reported")
        self.assertEqual(p.result["exit_code"], 2)
        self.assertEqual(p.result["accelerator"], "tcg")

    def test_timings_and_trace(self):
        trace = self.path("trace.json")
        p = self.kage("apply", "--cold", "--timings", "--trace", trace, self.spec(self.SPEC))
        self.assert_code(p, 2)
        with open(trace) as f:
            events = [e for e in json.load(f)["traceEvents"] if e["ph"] == "X"]
        host = {e["name"]: e for e in events if e["cat"] == "host"}
        guest = {e["name"]: e for e in events if e["cat"] == "guest"}
        self.assertEqual(list(host)[0], "read and plan the spec")
        for name in ("start QEMU and boot", "run bad", "end the machine"):
            self.assertIn(name, host)
            self.assertIn(f"  {name}\n".encode(), p.err)
        for name in ("kernel", "vmd sets up", "start bad", "run bad"):
            self.assertIn(name, guest)
            self.assertIn(f"    guest: {name}\n".encode(), p.err)
        # A command's life in the guest lies within what the host saw of it, as far as clocks tell.
        slack = 20_000
        inner, outer = guest["run bad"], host["run bad"]
        self.assertGreaterEqual(inner["ts"] + slack, outer["ts"])
        self.assertLessEqual(inner["ts"] + inner["dur"], outer["ts"] + outer["dur"] + slack)
        p = self.kage("apply", "--trace", self.path("no/such/folder/t.json"), self.spec(self.SPEC))
        self.assert_code(p, 125)
        self.assertIn(b"cannot write", p.err)

    def test_a_report_that_cannot_be_written_is_no_pass(self):
        p = self.kage("apply", "--result", self.path("no/such/folder/r.json"), self.spec(self.SPEC.replace("exit 2", "exit 0")))
        self.assert_code(p, 125)
        self.assertIn(b"cannot write", p.err)

    def test_a_plan_runs_like_its_spec(self):
        spec = self.spec(self.SPEC)
        made = self.kage("plan", "--format=json", spec)
        self.assert_code(made, 0)
        json.loads(made.out)
        with open(self.path("plan.json"), "wb") as f:
            f.write(made.out)
        for name in (self.path("plan.json"), "-"):
            with open(self.path("plan.json"), "rb") as f:
                p = self.kage("apply", "--plan", name, stdin=f)
            self.assert_code(p, 2)
            self.assertIn(b"'bad' exited with code 2", p.err)

    def test_environment_and_users(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            env: {A: job, B: "3.10"}
            users:
              dev: {uid: 1234, gid: 1300, groups: [7, 8]}
            commands:
              - run: echo "$A $B $C"; id -u; id -g; id -G; umask
                user: dev
                env: {A: command, C: "x y"}
              - run: id -u; pwd; cat /proc/self/status | grep NoNewPrivs
            """
        )
        self.assert_code(p, 0)
        lines = p.out.decode().split("\n")
        self.assertEqual(lines[:5], ["command 3.10 x y", "1234", "1300", "1300 7 8", "0022"])
        self.assertEqual(lines[5:7], ["0", "/"])
        self.assertIn("1", lines[7])


class Network(Kage):
    def test_off_reaches_nothing_and_on_reaches_the_host(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]

        def serve():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        p = self.apply(
            f"""
            version: 1
            image: tiny
            commands:
              - run: |
                  ls /sys/class/net
                  for host in 10.0.2.2 10.0.3.2 127.0.0.1; do
                    nc -w 2 $host {port} </dev/null && exit 1
                  done
                  nc -w 2 10.0.2.15 8080 </dev/null && exit 1
                  exit 0
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"lo\n")
        p = self.apply(
            f"""
            version: 1
            image: tiny
            network: on
            commands:
              - run: timeout 20 nc -w 5 10.0.3.2 {port} </dev/null
              - run: "! nc -w 2 10.0.3.15 8080 </dev/null"
              - run: "! nc -w 2 10.0.3.2 {port} </dev/null"
                network: off
            """
        )
        self.assert_code(p, 0)


class Isolation(Kage):
    def test_commands_see_files_but_not_processes_of_each_other(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: echo kept > /tmp/f; (sleep 1000 &) ; echo $$
              - run: cat /tmp/f; ps -o comm | grep -c sleep || true
              - run: ls /proc/self/fd | wc -l; ls -la /proc/1/exe || true
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out.decode().split("\n")[1:3], ["kept", "0"])


if __name__ == "__main__":
    unittest.main()
