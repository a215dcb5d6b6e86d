"""Commands: how they start, end, are signalled, and what they get."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import unittest

from vmd import *


class Commands(VmdTestCase):
    async def test_exit_codes(self):
        c = await self.connect()
        for code in range(256):
            result = await c.run("sh", "-c", f"exit {code}")
            self.assertEqual((result.code, result.signal), (code, None))

    async def test_signals(self):
        """Death by signal n is {code: 128+n, signal: n}, whoever sent it."""
        c = await self.connect()
        stopping = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
        ignored = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
        for n in range(1, 65):
            if n in stopping | ignored or n in (32, 33):  # 32 and 33 belong to libc
                continue
            spawned = await c.spawn("sleep", "100")
            kind, payload = await c.request(
                KILL, {"id": 1, "handle": spawned["handle"], "signal": n})
            self.assertEqual((kind, payload), (OK, {"id": 1}))
            result = await c.finish(spawned["id"])
            self.assertEqual((result.code, result.signal), (128 + n, n))

    async def test_signal_of_its_own(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "kill -SEGV $$")
        self.assertEqual((result.code, result.signal), (139, 11))

    async def test_default_signal_is_term(self):
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.1; done")
        self.assertEqual((await c.event(spawned["id"]))[1]["data"], "up\n")
        kind, payload = await c.request(KILL, {"handle": spawned["handle"]})
        self.assertEqual((kind, payload), (OK, {}))
        result = await c.finish(spawned["id"])
        self.assertEqual((result.code, result.stdout), (3, b"got it\n"))

    async def test_signal_reaches_the_process_group(self):
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "sh -c 'trap \"echo inner; exit\" USR1; while :; do sleep 0.05; done' & "
                                "trap 'wait; echo outer; exit 4' USR1; echo up; wait")
        await c.event(spawned["id"])
        await asyncio.sleep(0.2)
        await c.request(KILL, {"handle": spawned["handle"], "signal": int(signal.SIGUSR1)})
        result = await c.finish(spawned["id"])
        self.assertEqual((result.code, result.stdout), (4, b"inner\nouter\n"))

    async def test_kill_ends_the_tree(self):
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "trap '' TERM INT HUP; for i in 1 2 3; do (trap '' TERM; setsid sleep 100 & sleep 100) & done; echo up; wait")
        await c.event(spawned["id"])
        self.assertEqual((await c.request(KILL, {"handle": spawned["handle"], "signal": 9}))[0], OK)
        result = await c.finish(spawned["id"])
        self.assertEqual((result.code, result.signal), (137, 9))
        await self.assert_no_children()

    async def test_what_lingers_is_ended(self):
        """A background process does not hold back the exit, nor does it outlive it."""
        c = await self.connect()
        result = await c.run("sh", "-c", "(sleep 100; echo late) & (setsid sleep 100 &) ; echo done")
        self.assertEqual((result.code, result.stdout), (0, b"done\n"))
        await self.assert_no_children()

    async def test_close_ends_its_processes(self):
        c = await Client.open(self.vmd)
        for _ in range(5):
            await c.spawn("sh", "-c", "trap '' TERM HUP; setsid sleep 100 & sleep 100 & wait")
        self.assertTrue(self.vmd.children())
        await c.close()
        await self.assert_no_children()

    async def test_abort_ends_its_processes(self):
        c = await Client.open(self.vmd)
        await c.spawn("sleep", "100")
        await c.send(SPAWN, {"id": 9, "command": "sleep", "args": ["100"]})  # not waited for
        c.ws.transport.abort()
        await self.assert_no_children()

    async def test_detached(self):
        c = await Client.open(self.vmd, hello=[])
        spawned = await c.spawn("sh", "-c", "while :; do echo x; sleep 0.01; done", detach=True)
        await c.close()
        c = await self.connect()
        await asyncio.sleep(0.5)
        kind, payload = await c.request(IS_RUNNING, {"handle": spawned["handle"]})
        self.assertEqual((kind, payload["running"], payload["pid"]),
                         (RUNNING_STATUS, True, spawned["pid"]))
        self.assertEqual((await c.request(KILL, {"handle": spawned["handle"], "signal": 9}))[0], OK)
        await self.assert_no_children()
        kind, payload = await c.request(IS_RUNNING, {"id": 8, "handle": spawned["handle"]})
        self.assertEqual(payload, {"id": 8, "handle": spawned["handle"], "running": False})

    async def test_times(self):
        c = await self.connect(hello=["times"])
        kind, payload = await c.request(SPAWN, {"id": 1, "command": "sh", "args": ["-c", "sleep 0.2"]})
        self.assertEqual(kind, SPAWNED)
        kind, end = await c.event(1)
        self.assertEqual(kind, EXIT)
        self.assertLessEqual(payload["asked_us"], payload["started_us"])
        self.assertGreaterEqual(end["ended_us"] - payload["started_us"], 150_000)
        plain = await self.connect(hello=[])
        kind, payload = await plain.request(SPAWN, {"id": 1, "command": "true"})
        self.assertEqual(set(payload), {"id", "pid", "handle"})

    async def test_prepared_sandboxes(self):
        c = await self.connect(hello=["raw"])
        self.assertEqual((await c.request(PREPARE, {}))[0], OK)
        waiting = self.vmd.children()
        self.assertEqual(len(waiting), 6)  # helper, init and the command to be, twice
        self.assertEqual((await c.request(PREPARE, {}))[0], OK)
        self.assertEqual(self.vmd.children(), waiting)
        report = ["sh", "-c", "id -u; echo $A; pwd; cat; readlink /proc/self/ns/net; grep -E 'Cap|Seccomp|NoNew|Groups' "
                              "/proc/self/status; awk '{print $5}' /proc/self/mountinfo | grep ^/proc; ls /proc/self/fd; echo $$"]
        for uid in (0, 1000):
            said = []
            for first in (True, False):  # one is handed over, the other is started as usual
                spawned = await c.spawn(*report, uid=uid, gid=uid, groups=[7, 8], cwd="/tmp", env={"A": "x y"})
                self.assertEqual(spawned["pid"] in waiting, first)
                await c.send_bytes(frame(STDIN_RAW, struct.pack("<I", spawned["id"]) + b"typed"))
                self.assertEqual((await c.request(STDIN_CLOSE, {"handle": spawned["handle"]}))[0], OK)
                done = await c.finish(spawned["id"])
                self.assertEqual((done.code, done.stderr), (0, b""))
                said.append(done.stdout)
            self.assertIn(b"x y\n/tmp\ntyped", said[0])
            self.assertEqual(said[0], said[1])

    async def test_prepared_sandboxes_with_the_streams_they_have(self):
        c = await self.connect(hello=["raw"])
        await self.assert_error(c, INVALID_PARAMS, PREPARE, {"max_processes": 0})
        report = ["sh", "-c", "cat; id; grep -E 'Cap|Seccomp|NoNew|Groups|NSsid' /proc/self/status; ls /proc/self/fd; "
                              "ulimit -n; cat /proc/self/oom_score_adj; echo reopened >/dev/stdout; echo err >/dev/stderr"]
        for who in ({}, {"uid": 0, "gid": 1000}, {"uid": 0, "groups": [4]}, {"uid": 1000}):
            said = []
            self.assertEqual((await c.request(PREPARE, {"max_processes": 100}))[0], OK)
            waiting = self.vmd.children()
            for first in (True, False):
                spawned = await c.spawn(*report, no_stdin=True, **who)
                self.assertEqual(spawned["pid"] in waiting, first)
                done = await c.finish(spawned["id"])
                self.assertEqual((done.code, done.stderr), (0, b"err\n"))
                said.append(done.stdout)
            self.assertTrue(said[0].startswith(b"uid=") and said[0].endswith(b"reopened\n"), said[0])
            self.assertEqual(said[0], said[1])

    async def test_prepared_sandboxes_are_for_the_default_profile(self):
        c = await self.connect(hello=["raw"])
        self.assertEqual((await c.request(PREPARE, {}))[0], OK)
        waiting = self.vmd.children()
        for extra in ({"seccomp_profile": "strict"}, {"seccomp_profile": "none"}, {"private_network": True}):
            spawned = await c.spawn("true", **extra)
            self.assertNotIn(spawned["pid"], waiting)
            self.assertEqual((await c.finish(spawned["id"])).code, 0)
        # What cannot be executed is told as ever; what does not fit, or fits no more, is started as usual.
        await self.assert_error(c, E_SPAWN, SPAWN, {"id": 9000, "command": "/no/such/program"}, number=9000)
        self.assertEqual((await c.request(PREPARE, {}))[0], OK)
        self.assertEqual((await c.run("echo", "x" * 60000)).stdout, b"x" * 60000 + b"\n")
        self.assertEqual((await c.request(PREPARE, {}))[0], OK)
        for pid in self.vmd.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.assert_no_children()
        for uid in (0, 1000):
            self.assertEqual((await c.run("id", "-u", uid=uid, gid=uid)).stdout, f"{uid}\n".encode())

    async def test_is_running(self):
        c = await self.connect()
        spawned = await c.spawn("cat")
        kind, payload = await c.request(IS_RUNNING, {"handle": spawned["handle"]})
        self.assertEqual((kind, payload), (RUNNING_STATUS, {
            "handle": spawned["handle"], "running": True, "pid": spawned["pid"]}))
        await c.request(KILL, {"handle": spawned["handle"], "signal": 9})
        await c.finish(spawned["id"])
        kind, payload = await c.request(IS_RUNNING, {"handle": spawned["handle"]})
        self.assertEqual(payload, {"handle": spawned["handle"], "running": False})
        for handle in ("p99999999", "", "p0", "p01", "x", "p1x", "p18446744073709551616"):
            await self.assert_error(c, E_NO_PROCESS, IS_RUNNING, {"id": 2, "handle": handle}, number=2)

    async def test_failed_starts(self):
        c = await self.connect()
        for command, errnum in (("/nonexistent", 2), ("nonexistent", 2), ("/etc", 13), ("/etc/passwd", 13)):
            reply = await self.assert_error(c, E_SPAWN, SPAWN, {"id": 5, "command": command},
                                            number=5, text=command)
            self.assertEqual(reply["errno"], errnum, command)
        reply = await self.assert_error(c, E_SPAWN, SPAWN, {"id": 5, "command": "true", "cwd": "/nonexistent"})
        self.assertEqual(reply["errno"], 2)
        await self.assert_no_children()
        self.assertEqual((await c.run("true", id=5)).code, 0)

    async def test_too_many_arguments(self):
        c = await self.connect()
        reply = await self.assert_error(c, E_SPAWN, SPAWN,
                                        {"id": 1, "command": "true", "args": ["x" * 100000] * 60})
        self.assertEqual(reply["errno"], 7)
        result = await c.run("sh", "-c", "echo $#", "sh", *["x"] * 20000)
        self.assertEqual(result.stdout, b"20000\n")

    async def test_ids(self):
        c = await self.connect()
        spawned = await c.spawn("cat", id=0)
        await self.assert_error(c, INVALID_REQUEST, SPAWN, {"id": 0, "command": "true"}, number=0)
        other = await self.connect()
        self.assertEqual((await other.run("true", id=0)).code, 0)  # ids are a connection's own
        await c.request(KILL, {"handle": spawned["handle"], "signal": 9})
        await c.finish(0)
        self.assertEqual((await c.run("true", id=0)).code, 0)
        self.assertEqual((await c.run("true", id=2**32 - 1)).code, 0)

    async def test_argv_is_taken_literally(self):
        c = await self.connect()
        args = ["", " ", "$(id)", "`id`", "*", "--", "-n", "a\nb", "'", '"', "\\", "ü", "\x01\x7f"]
        result = await c.run("printf", "%s|", *args)
        self.assertEqual(result.stdout.decode(), "|".join(args) + "|")

    async def test_environment(self):
        c = await self.connect()
        lines = (await c.run("env")).stdout.decode().splitlines()
        env = dict(line.split("=", 1) for line in lines)
        self.assertEqual(env["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        self.assertEqual(env["HOME"], "/root")
        self.assertEqual((env["USER"], env["LOGNAME"]), ("root", "root"))
        self.assertIn("SHELL", env)
        result = await c.run("env", env={"PATH": "/usr/bin:/bin", "HOME": "", "A": "b=c\nd", "Ü": "é"})
        for line in (b"PATH=/usr/bin:/bin\n", b"HOME=\n", b"A=b=c\nd\n", "Ü=é\n".encode()):
            self.assertIn(line, result.stdout)

    async def test_nothing_leaks_into_commands(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)|CapEff' /proc/self/status")
        self.assertEqual(result.stdout.split()[:4], [b"0", b"1", b"2", b"3"])
        self.assertIn(b"SigBlk:\t0000000000000000", result.stdout)
        self.assertIn(b"SigIgn:\t0000000000000000", result.stdout)

    async def test_no_builtin_programs(self):
        c = await self.connect()
        await self.assert_error(c, E_SPAWN, SPAWN, {"id": 1, "command": "true", "builtin": True},
                                number=1, text="built-in")

    async def test_users(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "id -u; id -g; id -G; echo $HOME", uid=4321)
        self.assertEqual(result.stdout.split(), [b"4321", b"4321", b"4321", b"/"])
        result = await c.run("sh", "-c", "id -u; id -g; id -G", uid=1000, gid=5, groups=[6, 7])
        self.assertEqual(result.stdout.split(b"\n")[:3], [b"1000", b"5", b"5 6 7"])
        result = await c.run("sh", "-c", "echo to > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin",
                             uid=1000, no_stdin=True)
        self.assertEqual((result.code, result.stdout, result.stderr), (0, b"to\n", b"err\n"))
        await self.assert_error(c, E_USER, SPAWN, {"id": 1, "command": "true", "user": "nobody-at-all"},
                                number=1)

    async def test_user_by_name(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "id -u; id -g; echo $USER $LOGNAME $HOME $SHELL", user="daemon")
        with open("/etc/passwd") as f:
            entry = next(line for line in f if line.startswith("daemon:")).strip().split(":")
        self.assertEqual(result.stdout.decode().split(),
                         [entry[2], entry[3], "daemon", "daemon", entry[5], entry[6]])

    async def test_many_at_once(self):
        c = await self.connect()
        numbers = []
        for n in range(40):
            spawned = await c.spawn("sh", "-c", f"i=0; while [ $i -lt 50 ]; do echo {n}-$i; i=$((i+1)); done; exit {n}")
            numbers.append(spawned["id"])
        for n, number in enumerate(numbers):
            result = await c.finish(number)
            self.assertEqual(result.code, n)
            self.assertEqual(result.stdout.decode().split(), [f"{n}-{i}" for i in range(50)])

    async def test_processes_of_another_connection(self):
        """A handle is good on every connection; an id only on its own."""
        c, other = await self.connect(), await self.connect()
        spawned = await c.spawn("cat")
        await self.assert_error(other, E_NO_PROCESS, KILL, {"id": spawned["id"]})
        self.assertEqual((await other.request(KILL, {"handle": spawned["handle"]}))[0], OK)
        self.assertEqual((await c.finish(spawned["id"])).code, 143)

    async def test_requests_about_a_process_that_is_gone(self):
        c = await self.connect(hello=[])
        spawned = await c.spawn("true")
        await c.finish(spawned["id"])
        for kind in (STDIN, STDIN_CLOSE, KILL, RESIZE):
            await self.assert_error(c, E_NO_PROCESS, kind, {
                "id": 3, "handle": spawned["handle"], "data": "", "rows": 1, "cols": 1}, number=3)
        for n in (0, 65, -1, 1.5, "9"):
            await self.assert_error(c, INVALID_PARAMS, KILL, {"handle": "p1", "signal": n})
        await self.assert_error(c, INVALID_PARAMS, KILL, {"signal": 9}, text="handle")

    async def test_host_without_root_folder_is_left_alone(self):
        c = await self.connect(hello=[])
        await self.assert_error(c, E_MOUNT, MOUNT, {"tag": "x", "mount_point": "/mnt/x"}, text="--root")
        await self.assert_error(c, E_MOUNT, UNMOUNT, {"mount_point": "/mnt/x"})
        await self.assert_error(c, E_USER, SESSION_CREATE, {"uid": 1234}, text="--root")
        await self.assert_error(c, E_USER, SESSION_DESTROY, {"uid": 1234, "delete_home": True})
        await self.assert_error(c, E_INSTALL, BINARY_INSTALL, {"name": "x", "data": ""})
        await self.assert_error(c, INVALID_REQUEST, RESUME,
                                {"time_us": 1, "entropy": base64.b64encode(bytes(32)).decode()})


class Broken(unittest.IsolatedAsyncioTestCase):
    async def test_no_helper_no_command(self):
        """Without its sandbox a command fails; it is never run bare."""
        for helper in ("/bin/false", "/etc/passwd"):
            real = os.environ["KAGE_HELPER"]
            os.environ["KAGE_HELPER"] = helper
            try:
                vmd = Vmd()
            finally:
                os.environ["KAGE_HELPER"] = real
            c = await Client.open(vmd)
            for _ in range(3):
                kind, payload = await c.request(SPAWN, {"id": 1, "command": "true"})
                self.assertEqual((kind, payload["code"], payload["id"]), (ERROR, E_SPAWN, 1))
                self.assertIn("helper", payload["message"])
            await c.ping()
            await c.close()
            self.assertEqual(vmd.stop(), 0)

    @unittest.skipIf(not shutil.which("busybox") or libraries(shutil.which("busybox")),
                     "needs a static busybox (package busybox-static)")
    async def test_builtin_programs(self):
        vmd = Vmd(extra=["--builtin", shutil.which("busybox")])
        c = await Client.open(vmd)
        result = await c.run("echo", "from", "within", builtin=True, env={"PATH": "/nonexistent"})
        self.assertEqual((result.code, result.stdout), (0, b"from within\n"))
        kind, payload = await c.request(SPAWN, {"id": 1, "command": "/bin/true", "builtin": True})
        self.assertEqual((kind, payload["code"]), (ERROR, INVALID_PARAMS))
        await c.close()
        self.assertEqual(vmd.stop(), 0)

    async def test_killed_helper(self):
        """A helper that vanishes takes its command along: 128+9."""
        vmd = Vmd()
        c = await Client.open(vmd)
        spawned = await c.spawn("sh", "-c", "echo up; sleep 100")
        await c.event(spawned["id"])
        os.kill(spawned["pid"], signal.SIGKILL)
        result = await c.finish(spawned["id"])
        self.assertEqual((result.code, result.signal), (137, 9))
        await asyncio.sleep(0.3)
        self.assertFalse(vmd.children())
        await c.close()
        self.assertEqual(vmd.stop(), 0)

    async def test_vmd_takes_its_commands_along(self):
        vmd = Vmd()
        c = await Client.open(vmd)
        await c.spawn("sleep", "100")
        await c.spawn("sleep", "100", detach=True)
        children = vmd.children()
        self.assertTrue(children)
        self.assertEqual(vmd.stop(), 0)
        await asyncio.sleep(0.5)
        self.assertFalse([pid for pid in children if os.path.exists(f"/proc/{pid}")])


if __name__ == "__main__":
    unittest.main()
