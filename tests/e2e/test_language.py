"""The parts of the language beyond one command after another: attempts, background commands,
secrets, artifacts, matrices, terminals. Each in a real machine."""

import hashlib
import json
import os
import stat
import unittest
import xml.etree.ElementTree

from kage_e2e import SIGNALS, Kage


class Retries(Kage):
    def test_every_attempt_is_listed(self):
        junit = self.path("junit.xml")
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - name: flaky
                run: |
                  echo x >> /tmp/n
                  echo "attempt $(wc -l < /tmp/n)"
                  test $(wc -l < /tmp/n) -eq 3
                retries: 4
            """,
            "--junit", junit,
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"attempt 1\nattempt 2\nattempt 3\n")
        command = p.result["commands"][0]
        self.assertEqual([a["status"] for a in command["attempts"]], ["failed", "failed", "passed"])
        self.assertEqual([a["exit_code"] for a in command["attempts"]], [1, 1, 0])
        case = xml.etree.ElementTree.parse(junit).find("testcase")
        self.assertEqual(len(case.findall("flakyFailure")), 2)
        self.assertIsNone(case.find("failure"))

    def test_the_last_attempt_decides(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {name: a, run: "echo x >> /tmp/n; exit $(wc -l < /tmp/n)", retries: 2}
              - {name: b, run: "wc -l < /tmp/n", when: always}
            """
        )
        self.assert_code(p, 3)
        self.assertEqual(p.out, b"3\n")
        self.assertEqual(p.result["commands"][0]["exit_code"], 3)
        self.assertEqual(len(p.result["commands"][0]["attempts"]), 3)
        self.assertNotIn("attempts", p.result["commands"][1])

    def test_a_timeout_is_tried_again(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {run: "test -e /tmp/x || { touch /tmp/x; sleep 100; }", retries: 1, timeout: 2s}
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.result["commands"][0]["attempts"][0]["status"], "timed-out")


class Background(Kage):
    def test_every_way_of_being_ready(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            users: {tester: {uid: 1000}}
            defaults: {user: tester}
            commands:
              - id: tcp
                run: sleep 1; exec nc -ll -p 7000 -e cat
                background: true
                ready: {tcp: 7000}
              - run: echo over-tcp | nc 127.0.0.1 7000
              - id: log
                run: printf 'list'; sleep 1; printf 'ening\\n'; touch /tmp/log; sleep 1000
                background: true
                ready: {log: listening}
              - run: test -e /tmp/log || sleep 1; test -e /tmp/log
              - id: file
                run: sleep 1; mkdir /tmp/folder; sleep 1000
                background: true
                ready: {file: /tmp/folder}
              - run: test -d /tmp/folder
              - id: exec
                run: sleep 1; echo "$WORD" > /tmp/answer; sleep 1000
                background: true
                env: {WORD: yes}
                ready: {exec: [sh, -c, 'test "$(cat /tmp/answer)" = "$WORD" && id -un > /tmp/who']}
              - run: cat /tmp/who
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"over-tcp\nlistening\ntester\n")
        self.assertEqual({c["status"] for c in p.result["commands"]}, {"passed"})

    def test_not_ready_in_time(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {id: db, run: "sleep 1000", background: true, ready: {tcp: 7000, timeout: 2s}}
              - {run: "echo never"}
              - {run: "echo at-the-end", when: always}
            """
        )
        self.assert_code(p, 124)
        self.assertEqual(p.out, b"at-the-end\n")
        self.assertIn(b"'db' was not ready within 2s: port 7000 takes no connection", p.err)
        self.assertEqual(p.result["commands"][0]["status"], "timed-out")

    def test_death_before_ready(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {id: db, run: "exit 0", background: true, ready: {file: /never}}
              - {run: "echo never"}
            """
        )
        self.assert_code(p, 1)
        self.assertEqual(p.out, b"")
        self.assertIn(b"background command 'db' exited with code 0 before it was ready", p.err)

    def test_a_start_is_tried_again(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - id: db
                run: test -e /tmp/x || { touch /tmp/x; exit 5; }; touch /tmp/up; sleep 1000
                background: true
                ready: {file: /tmp/up}
                retries: 1
              - run: echo on
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"on\n")

    def test_death_before_the_end_fails_the_job(self):
        spec = """
            version: 1
            image: tiny
            commands:
              - {{id: db, run: "touch /tmp/up; sleep 1; exit 9", background: true,
                 ready: {{file: /tmp/up}}, continue-on-error: {}}}
              - {{run: "sleep 3; echo finished"}}
              - {{run: "echo next"}}
            """
        p = self.apply(spec.format("false"))
        self.assert_code(p, 9)
        self.assertEqual(p.out, b"finished\n")
        self.assertIn(b"background command 'db' exited with code 9 before the job ended", p.err)
        self.assertEqual([c["status"] for c in p.result["commands"]], ["failed", "passed", "not-run"])
        p = self.apply(spec.format("true"))
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"finished\nnext\n")
        self.assertEqual(p.result["commands"][0]["status"], "failed")

    def test_it_is_told_to_end(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - id: db
                run: trap 'echo flushed; exit 3' TERM; touch /tmp/up; while :; do sleep 0.1; done
                background: true
                ready: {file: /tmp/up}
              - {run: "echo work"}
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"work\nflushed\n")
        self.assertEqual(p.result["commands"][0]["status"], "passed")

    def test_its_own_timeout_counts(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {id: db, run: "touch /tmp/up; sleep 1000", background: true, ready: {file: /tmp/up}, timeout: 2s}
              - {run: "sleep 4"}
            """
        )
        self.assert_code(p, 124)
        self.assertIn(b"background command 'db' ran longer than its timeout of 2s", p.err)

    def test_an_interrupted_run_leaves_nothing(self):
        process, qemu = self.running(
            """
            version: 1
            image: tiny
            commands:
              - {run: "touch /tmp/up; sleep 1000", background: true, ready: {file: /tmp/up}}
              - {run: "echo started; sleep 1000"}
            """
        )
        process.send_signal(SIGNALS["TERM"])
        self.assertEqual(process.wait(30), 143)
        self.assert_gone(qemu)


class Secrets(Kage):
    SECRET = "hunter2 'and\" more"

    def setUp(self):
        super().setUp()
        os.environ["KAGE_E2E_SECRET"] = self.SECRET
        self.addCleanup(os.environ.pop, "KAGE_E2E_SECRET")

    def test_hidden_wherever_it_is_printed(self):
        junit = self.path("junit.xml")
        self.write("key", "-----BEGIN-----\nAAAABBBBCCCC\n-----END-----\n")
        p = self.apply(
            r"""
            version: 1
            image: tiny
            secrets:
              TOKEN: {env: KAGE_E2E_SECRET}
              KEY: {file: key}
            commands:
              - name: prints
                run: |
                  echo "whole: $TOKEN."
                  for i in 1 2 3; do printf %s "$TOKEN"; done; echo
                  printf '%s' "${TOKEN%?????}"; sleep 0.3; printf '%s\n' "${TOKEN#"${TOKEN%?????}"}"
                  echo "$TOKEN" >&2
                  echo "$KEY"; echo "$KEY" | sed 's/^/  /'
                  printf '%s' "${TOKEN%?}"
                secrets: [TOKEN, KEY]
              - {name: knows nothing, run: "env; test -z \"${TOKEN+x}${KEY+x}\"", when: always}
              - {name: dies, run: "kill -9 $$", secrets: [TOKEN]}
            """,
            "--junit", junit,
        )
        self.assert_code(p, 137)
        self.assertTrue(
            p.out.startswith(b"whole: ***.\n*********\n***\n***\n  ***\n  ***\n  ***\n" + self.SECRET[:-1].encode()),
            p.out,
        )
        self.assertTrue(p.err.startswith(b"***\n"), p.err)
        with open(junit, "rb") as f:
            report = f.read()
        for text in (p.out, p.err, json.dumps(p.result).encode(), report):
            self.assertNotIn(self.SECRET.encode(), text)
            self.assertNotIn(b"AAAABBBBCCCC", text)

    def test_not_in_plans(self):
        spec = self.spec(
            """
            version: 1
            image: tiny
            secrets: {TOKEN: {env: KAGE_E2E_SECRET}}
            commands:
              - {run: 'test "$TOKEN" = "hunter2 ''and\\" more" && echo right', secrets: [TOKEN]}
            """
        )
        for form in ("human", "json"):
            p = self.kage("plan", "--format", form, spec)
            self.assert_code(p, 0)
            self.assertIn(b"%{secret:TOKEN}", p.out)
            self.assertNotIn(b"KAGE_E2E_SECRET=", p.out)
        with open(self.path("plan.json"), "wb") as f:
            f.write(p.out)
        p = self.kage("apply", "--plan", self.path("plan.json"))
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"right\n")

    def test_a_text_that_looks_like_its_place_stays(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            secrets: {TOKEN: {env: KAGE_E2E_SECRET}}
            env: {OTHER: "%{secret:TOKEN}"}
            commands:
              - {exec: [sh, -c, 'echo "$OTHER" "$0"', "%{secret:TOKEN}"], secrets: [TOKEN]}
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"%{secret:TOKEN} %{secret:TOKEN}\n")

    def test_missing_ones_stop_the_run(self):
        spec = """
            version: 1
            image: tiny
            secrets: {TOKEN: %s}
            commands:
              - {run: "echo ran", secrets: [%s]}
            """
        os.environ["KAGE_E2E_EMPTY"] = ""
        self.addCleanup(os.environ.pop, "KAGE_E2E_EMPTY")
        with open(self.path("binary"), "wb") as f:
            f.write(b"a\0b")
        for source, words in (
            ("{env: KAGE_E2E_NOT_SET}", b"KAGE_E2E_NOT_SET is not set"),
            ("{env: KAGE_E2E_EMPTY}", b"it is empty"),
            ("{file: nowhere}", b"No such file"),
            ("{file: binary}", b"it is no text"),
            ("{file: /dev/zero}", b"longer than"),
        ):
            p = self.apply(spec % (source, "TOKEN"))
            self.assert_code(p, 125)
            self.assertEqual(p.out, b"")
            self.assertIn(b"cannot read secret TOKEN", p.err)
            self.assertIn(words, p.err)
            self.assertEqual(p.result["class"], "host")
        self.assert_code(self.apply(spec % ("{env: KAGE_E2E_NOT_SET}", "")), 0)


class Artifacts(Kage):
    def test_files_folders_and_patterns(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: |
                  mkdir -p /out/tree/sub && cd /out
                  for n in one two; do echo $n > $n.xml; done
                  echo hidden > .hidden.xml
                  head -c 3000000 /dev/urandom > tree/big; sha256sum < tree/big
                  echo x > 'tree/sub/ä b'; chmod 4755 tree/sub/*; mkdir tree/empty
              - run: exit 4
            artifacts:
              - {path: "/out/*.xml", to: results/}
              - {path: /out/one.xml, to: deep/er/renamed}
              - {path: /out/tree, to: ./}
              - {path: /out/none, to: none, optional: true}
              - {path: /out/one.xml, to: failed, when: on-failure}
              - {path: /out/one.xml, to: passed, when: on-success}
            """
        )
        self.assert_code(p, 4)
        self.assertEqual(sorted(os.listdir(self.path("results"))), ["one.xml", "two.xml"])
        with open(self.path("deep/er/renamed")) as f:
            self.assertEqual(f.read(), "one\n")
        with open(self.path("tree/big"), "rb") as f:
            self.assertEqual(p.out.split()[0].decode(), hashlib.sha256(f.read()).hexdigest())
        self.assertEqual(stat.S_IMODE(os.stat(self.path("tree/sub/ä b")).st_mode), 0o755)
        self.assertTrue(os.path.isdir(self.path("tree/empty")))
        self.assertTrue(os.path.exists(self.path("failed")))
        self.assertFalse(os.path.exists(self.path("passed")))
        self.assertEqual(
            [a["status"] for a in p.result["artifacts"]],
            ["copied", "copied", "copied", "missing", "copied", "not-wanted"],
        )

    def test_a_missing_one_fails_the_job(self):
        junit = self.path("junit.xml")
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: echo fine
            artifacts:
              - {path: /out/report, to: report}
              - {path: "/etc/*.nothing", to: x/}
            """,
            "--junit", junit,
        )
        self.assert_code(p, 1)
        self.assertIn(b"job.yaml:6:5: artifact /out/report: there is no such file", p.err)
        self.assertEqual([a["status"] for a in p.result["artifacts"]], ["failed", "failed"])
        suite = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("3", "2"))

    def test_only_files_and_folders_come_out(self):
        with open(self.path("victim"), "w") as f:
            f.write("untouched\n")
        os.symlink("/tmp", self.path("link-to-tmp"))
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: |
                  mkdir -p /out/tree && cd /out/tree
                  ln -s /etc/passwd passwd; ln -s .. up; mkfifo fifo
                  echo ok > file; ln file hard
                  ln -s tree /out/link
            artifacts:
              - {path: /out/tree, to: tree}
              - {path: /out/link, to: link}
              - {path: /out/tree/file, to: link-to-tmp/kage-e2e-file}
              - {path: /out/tree/fifo, to: fifo}
            """
        )
        self.assert_code(p, 1)
        self.assertEqual(sorted(os.listdir(self.path("tree"))), ["file", "hard"])
        self.assertEqual(os.stat(self.path("tree/file")).st_nlink, 1)
        messages = [a.get("message", "") for a in p.result["artifacts"]]
        self.assertIn("left out", messages[0])
        self.assertIn("links are not followed", messages[1])
        self.assertIn("links are not followed", messages[2])
        self.assertFalse(os.path.exists("/tmp/kage-e2e-file"))
        self.assertFalse(os.path.lexists(self.path("fifo")))

    def test_an_existing_link_is_replaced_not_followed(self):
        with open(self.path("victim"), "w") as f:
            f.write("untouched\n")
        os.symlink("victim", self.path("out"))
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: echo new > /tmp/out
            artifacts:
              - {path: /tmp/out, to: out}
            """
        )
        self.assert_code(p, 0)
        with open(self.path("victim")) as f:
            self.assertEqual(f.read(), "untouched\n")
        self.assertFalse(os.path.islink(self.path("out")))

    def test_names_with_line_feeds_are_refused(self):
        p = self.apply(
            r"""
            version: 1
            image: tiny
            commands:
              - run: mkdir -p /out/a; touch "/out/a/$(printf 'x\ny')" "/out/$(printf 'p\nq').xml"
            artifacts:
              - {path: /out/a, to: a}
              - {path: "/out/*.xml", to: b/}
            """
        )
        self.assert_code(p, 1)
        self.assertEqual(os.listdir(self.path("a")) if os.path.exists(self.path("a")) else [], [])
        self.assertEqual([a["status"] for a in p.result["artifacts"]], ["failed", "failed"])
        self.assertIn("control characters", p.result["artifacts"][0]["message"])

    def test_background_commands_have_ended(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - run: trap 'echo flushed > /tmp/log; exit 0' TERM; touch /tmp/up; while :; do sleep 0.1; done
                background: true
                ready: {file: /tmp/up}
            artifacts:
              - {path: /tmp/log, to: log}
            """
        )
        self.assert_code(p, 0)
        with open(self.path("log")) as f:
            self.assertEqual(f.read(), "flushed\n")


class Matrix(Kage):
    SPEC = """
        version: 1
        name: m
        image: tiny
        matrix: {a: ["1", "2"], b: [x, y], exclude: [{a: "2", b: y}]}
        commands:
          - {name: "${matrix.a}", exec: [sh, -c, 'echo $0; exit $1', "${matrix.a}${matrix.b}", "${matrix.a}"], expect: {exit: [1]}}
        """

    def test_jobs_one_after_another(self):
        junit = self.path("junit.xml")
        p = self.apply(self.SPEC, "--junit", junit)
        self.assert_code(p, 2)
        self.assertEqual(p.out, b"1x\n1y\n2x\n")
        self.assertIn(b"kage: job 1 of 3: m (a=1, b=x)\n", p.err)
        self.assertIn(b"kage: 1 of 3 jobs did not pass\n", p.err)
        self.assertEqual([j["verdict"] for j in p.result["jobs"]], ["passed", "passed", "failed"])
        self.assertEqual(p.result["jobs"][1]["matrix"], {"a": "1", "b": "y"})
        self.assertEqual((p.result["verdict"], p.result["exit_code"]), ("failed", 2))
        suites = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual([s.get("name") for s in suites], ["m (a=1, b=x)", "m (a=1, b=y)", "m (a=2, b=x)"])

    def test_some_jobs(self):
        p = self.apply(self.SPEC, "--matrix", "a=1", "--matrix", "b=y")
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"1y\n")
        self.assertNotIn("jobs", p.result)
        p = self.apply(self.SPEC, "--matrix", "a=2", "--matrix", "b=y")
        self.assert_code(p, 125)
        self.assertIn(b"no job of the matrix has a=2 and b=y", p.err)

    def test_a_kept_plan(self):
        p = self.kage("plan", "--format=json", self.spec(self.SPEC))
        self.assert_code(p, 0)
        self.assertEqual(len(json.loads(p.out)["jobs"]), 3)
        with open(self.path("plan.json"), "wb") as f:
            f.write(p.out)
        p = self.kage("apply", "--plan", "plan.json", "--matrix", "b=x", "--quiet")
        self.assert_code(p, 2)
        self.assertEqual(p.out, b"1x\n2x\n")
        self.assertNotIn(b"job 1 of 2", p.err)


class Terminal(Kage):
    def test_pty(self):
        p = self.apply(
            """
            version: 1
            image: tiny
            commands:
              - {run: "test -t 0 && test -t 1 && test -t 2; echo $?; stty size; cat; echo to-stderr >&2", pty: true}
              - {run: "test -t 0 || echo none"}
            """
        )
        self.assert_code(p, 0)
        self.assertEqual(p.out, b"0\r\n24 80\r\nto-stderr\r\nnone\n")


if __name__ == "__main__":
    unittest.main()
