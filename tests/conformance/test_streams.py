"""Bytes in and out: exact, in order, bounded, and complete before the exit."""

import asyncio
import hashlib
import struct
import sys
import unittest

from vmd import *

ALL_BYTES = bytes(range(256))
PRINT_ALL = "import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.buffer.write(bytes(range(255, -1, -1)))"
# Pseudo-random and cheap: 64 KiB blocks that all differ.
FLOOD = """
import hashlib, sys
out = sys.stdout.buffer
total = hashlib.sha256()
for n in range({blocks}):
    block = hashlib.sha256(b"%d" % n).digest() * 2048
    total.update(block)
    out.write(block)
out.flush()
sys.stderr.write(total.hexdigest())
"""
PYTHON = "/usr/bin/python3"


class Output(VmdTestCase):
    async def test_all_bytes(self):
        for hello in (None, [], ["raw"]):
            c = await self.connect(hello=hello)
            result = await c.run(PYTHON, "-c", PRINT_ALL)
            self.assertEqual(result.stdout, ALL_BYTES)
            self.assertEqual(result.stderr, ALL_BYTES[::-1])

    async def test_nul_and_invalid_text(self):
        c = await self.connect()
        for data in (b"\0", b"a\0b", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", "ü𝄞".encode()):
            text = "".join(f"\\{b:03o}" for b in data)
            result = await c.run("printf", text)
            self.assertEqual(result.stdout, data)

    async def test_characters_cut_in_two(self):
        """Text arrives as text, wherever the writes were cut."""
        c = await self.connect()
        text = "aä€𝄞z" * 20
        script = ("import os, sys, time\n"
                  f"for b in {text.encode()!r}:\n"
                  "    os.write(1, bytes([b])); time.sleep(0.001)\n")
        spawned = await c.spawn(PYTHON, "-c", script)
        got = ""
        while True:
            kind, payload = await c.event(spawned["id"])
            if kind == EXIT:
                break
            self.assertNotIn("encoding", payload)
            got += payload["data"]
        self.assertEqual(got, text)

    async def test_10000_writes_of_one_byte(self):
        script = "import os\nfor n in range(10000): os.write(1, b'%d' % (n % 10))"
        for hello in (None, ["raw"]):
            c = await self.connect(hello=hello)
            result = await c.run(PYTHON, "-c", script)
            self.assertEqual(result.stdout, b"0123456789" * 1000)

    async def test_exit_comes_last(self):
        """Nothing follows the exit, and nothing is missing before it."""
        c = await self.connect()
        for n in range(100):
            result = await c.run("sh", "-c", f"echo out; echo err >&2; exit {n}")
            self.assertEqual((result.code, result.stdout, result.stderr), (n, b"out\n", b"err\n"))
        await c.ping()
        self.assertFalse([e for e in c.events.values() if e])

    async def flood(self, c, megabytes):
        """Runs a command with that much output without keeping it; checks its digest."""
        spawned = await c.spawn(PYTHON, "-c", FLOOD.format(blocks=megabytes * 16))
        total, size, told = hashlib.sha256(), 0, b""
        while True:
            kind, payload = await c.event(spawned["id"], 60)
            if kind in (STDOUT_RAW, STDOUT):
                data = payload[1] if kind == STDOUT_RAW else output_bytes(payload)
                total.update(data)
                size += len(data)
            elif kind in (STDERR_RAW, STDERR):
                told += payload[1] if kind == STDERR_RAW else output_bytes(payload)
            elif kind == EXIT:
                break
        self.assertEqual(size, megabytes * 1024 * 1024)
        self.assertEqual(total.hexdigest(), told.decode())

    async def test_64_mebibytes_as_json(self):
        await self.flood(await self.connect(max_size=None), 64)

    async def test_256_mebibytes_raw(self):
        c = await self.connect(hello=["raw"])
        before = self.vmd.memory()
        await self.flood(c, 256)
        self.assert_memory_flat(before, 8 * 1024 * 1024)

    async def test_slow_reader(self):
        """Unread output stops the process; vmd's memory stays flat and nothing is lost."""
        c = await self.connect(hello=["raw"], max_queue=1)
        other = await self.connect()
        before = self.vmd.memory()
        spawned = await c.spawn(PYTHON, "-c", FLOOD.format(blocks=1024))
        await asyncio.sleep(4)
        self.assert_memory_flat(before, 8 * 1024 * 1024)
        self.assertEqual((await other.run("echo", "others go on")).code, 0)
        status = await other.request(IS_RUNNING, {"handle": spawned["handle"]})
        self.assertTrue(status[1]["running"])
        result = await c.finish(spawned["id"])
        self.assertEqual(digest(result.stdout), result.stderr.decode())
        self.assertEqual(len(result.stdout), 64 * 1024 * 1024)

    async def test_kill_while_nobody_reads(self):
        """A client whose output has piled up can still end the command on the same connection."""
        c = await self.connect(hello=["raw"], max_queue=1)
        spawned = await c.spawn("cat", "/dev/zero")
        await asyncio.sleep(1)
        await c.send(KILL, {"id": 5, "handle": spawned["handle"], "signal": 9})
        await self.assert_no_children()
        self.assertEqual(await c.reply(), (OK, {"id": 5}))
        result = await c.finish(spawned["id"])
        self.assertEqual(result.code, 137)

    async def test_two_floods_share_a_connection(self):
        c = await self.connect(hello=["raw"])
        first = await c.spawn(PYTHON, "-c", FLOOD.format(blocks=256))
        second = await c.spawn(PYTHON, "-c", FLOOD.format(blocks=256))
        for spawned in (second, first):
            result = await c.finish(spawned["id"])
            self.assertEqual(digest(result.stdout), result.stderr.decode())

    async def test_closed_output_does_not_end_a_process(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 9")
        self.assertEqual(result.code, 9)


class Input(VmdTestCase):
    async def test_seed_stdin(self):
        """Without hello: an `ok` for every stdin, at once."""
        c = await self.connect()
        spawned = await c.spawn("cat")
        for text in ("hello\n", "ü", "", "x" * 1000):
            kind, payload = await c.request(STDIN, {"id": spawned["id"], "handle": spawned["handle"],
                                                    "data": text})
            self.assertEqual((kind, payload), (OK, {"id": spawned["id"]}))
        await c.request(STDIN, {"id": 3, "handle": spawned["handle"], "encoding": "base64",
                                "data": base64.b64encode(ALL_BYTES).decode()})
        await asyncio.sleep(0.3)
        await c.request(KILL, {"handle": spawned["handle"]})
        result = await c.finish(spawned["id"])
        self.assertEqual(result.stdout, b"hello\n" + "ü".encode() + b"x" * 1000 + ALL_BYTES)

    async def test_window_without_hello(self):
        """More than the window at once is refused whole, and what was taken stays."""
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "sleep 1; cat")
        taken = 0
        while True:
            kind, payload = await c.request(STDIN, {"id": 1, "handle": spawned["handle"],
                                                    "data": "y" * 65536})
            if kind == ERROR:
                break
            taken += 65536
            self.assertLess(taken, 4 * STDIN_WINDOW_BYTES)
        self.assertEqual((payload["code"], payload["errno"]), (INVALID_REQUEST, 11))
        self.assertGreaterEqual(taken, STDIN_WINDOW_BYTES)
        size = 0
        while size < taken:
            kind, payload = await c.event(spawned["id"])
            size += len(output_bytes(payload))
        await c.request(KILL, {"handle": spawned["handle"], "signal": 9})
        self.assertEqual((await c.finish(spawned["id"])).stdout, b"")

    async def test_through_cat_with_credit(self):
        c = await self.connect(hello=["raw"])
        data = hashlib.sha512(b"x").digest() * (32 * 1024 * 1024 // 64)
        spawned = await c.spawn("sha256sum")
        await c.write_all(spawned, data)
        result = await c.finish(spawned["id"])
        self.assertEqual(result.stdout.split()[0].decode(), digest(data))

    async def test_both_ways_at_once(self):
        c = await self.connect(hello=["raw"])
        data = bytes(range(256)) * (8 * 1024 * 1024 // 256)
        spawned = await c.spawn("cat")
        number = spawned["id"]
        room, at, got, closed = STDIN_WINDOW_BYTES, 0, bytearray(), False
        while True:
            while at < len(data) and room:
                part = data[at:at + min(room, 65536)]
                await c.send(STDIN_RAW, struct.pack("<I", number) + part)
                at, room = at + len(part), room - len(part)
            if at == len(data) and not closed:
                closed = True
                await c.send(STDIN_CLOSE, {"id": number})
            kind, payload = await c.frame()
            if kind == STDIN_WINDOW:
                room += payload["bytes"]
                self.assertLessEqual(room, STDIN_WINDOW_BYTES)
            elif kind == STDOUT_RAW:
                got += payload[1]
            elif kind == EXIT:
                break
        self.assertEqual(bytes(got), data)

    async def test_end_of_input(self):
        c = await self.connect(hello=[])
        spawned = await c.spawn("cat")
        await c.request(STDIN, {"id": 1, "handle": spawned["handle"], "data": "end"})
        self.assertEqual(await c.request(STDIN_CLOSE, {"id": 2, "handle": spawned["handle"]}), (OK, {"id": 2}))
        result = await c.finish(spawned["id"])
        self.assertEqual((result.code, result.stdout), (0, b"end"))

    async def test_input_after_the_end(self):
        c = await self.connect(hello=[])
        spawned = await c.spawn("sh", "-c", "cat; sleep 100")
        await c.request(STDIN_CLOSE, {"handle": spawned["handle"]})
        await self.assert_error(c, INVALID_REQUEST, STDIN, {"handle": spawned["handle"], "data": "x"})
        await self.assert_error(c, INVALID_REQUEST, STDIN_CLOSE, {"handle": spawned["handle"]})
        silent = await c.spawn("sleep", "100", no_stdin=True)
        await self.assert_error(c, INVALID_REQUEST, STDIN, {"handle": silent["handle"], "data": "x"})

    async def test_input_nobody_reads(self):
        """A command that closes its input is told by EPIPE; credit goes on."""
        c = await self.connect(hello=["raw"])
        spawned = await c.spawn("sh", "-c", "exec <&-; echo closed; sleep 100")
        await c.event(spawned["id"])
        await c.send(STDIN_RAW, struct.pack("<I", spawned["id"]) + b"z" * 65536)
        kind, payload = await c.event(spawned["id"])
        self.assertEqual((kind, payload["bytes"]), (STDIN_WINDOW, 65536))
        # The sandbox's init may hold the other end a moment longer than the command did.
        for _ in range(100):
            kind, reply = await c.request(STDIN, {"handle": spawned["handle"], "data": "x"})
            if kind == ERROR:
                break
            await asyncio.sleep(0.05)
        self.assertEqual((kind, reply["code"], reply["errno"]), (ERROR, INVALID_REQUEST, 32))

    async def test_dev_null(self):
        c = await self.connect(hello=[])
        self.assertEqual((await c.run("cat", no_stdin=True)).code, 0)


class Terminal(VmdTestCase):
    async def test_terminal(self):
        c = await self.connect(hello=[])
        result = await c.run("sh", "-c", "tty; stty size; echo $TERM; test -t 0 && test -t 1 && test -t 2 && echo all",
                             pty=True, rows=33, cols=101)
        lines = result.stdout.decode().split("\r\n")
        self.assertRegex(lines[0], "^/dev/pts/")
        self.assertEqual(lines[1:4], ["33 101", "xterm-256color", "all"])
        self.assertEqual(result.stderr, b"")

    async def test_default_size(self):
        c = await self.connect()
        self.assertEqual((await c.run("stty", "size", pty=True)).stdout, b"24 80\r\n")

    async def test_resize(self):
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done", pty=True)
        await c.event(spawned["id"])
        kind, payload = await c.request(RESIZE, {"id": 9, "handle": spawned["handle"], "rows": 50, "cols": 132})
        self.assertEqual((kind, payload), (OK, {"id": 9}))
        self.assertIn(b"50 132", (await c.finish(spawned["id"])).stdout)
        pipe = await c.spawn("cat")
        await self.assert_error(c, INVALID_REQUEST, RESIZE, {"handle": pipe["handle"], "rows": 1, "cols": 1})
        for rows, cols in ((0, 1), (1, 65536), (1.5, 1), (None, 1)):
            await self.assert_error(c, INVALID_PARAMS, RESIZE, {"handle": pipe["handle"], "rows": rows, "cols": cols})

    async def test_keys(self):
        """Ctrl-C is a signal, Ctrl-D an end, and job control works."""
        c = await self.connect()
        spawned = await c.spawn("sh", "-c", "trap 'echo interrupted; exit 5' INT; echo up; while :; do sleep 0.05; done", pty=True)
        await c.event(spawned["id"])
        await c.request(STDIN, {"handle": spawned["handle"], "data": "\x03"})
        result = await c.finish(spawned["id"])
        self.assertEqual(result.code, 5)
        self.assertIn(b"interrupted", result.stdout)
        spawned = await c.spawn("sh", "-c", "cat; echo ended", pty=True)
        await c.request(STDIN, {"handle": spawned["handle"], "data": "line\n"})
        await c.request(STDIN, {"handle": spawned["handle"], "data": "\x04"})
        self.assertIn(b"ended", (await c.finish(spawned["id"])).stdout)
        spawned = await c.spawn("bash", "-c", "set -m; sleep 100 & jobs; kill %1; wait; echo over", pty=True)
        self.assertIn(b"over", (await c.finish(spawned["id"])).stdout)

    async def test_end_of_input(self):
        c = await self.connect(hello=["raw"])
        for text in (b"", b"line\n", b"no newline"):
            spawned = await c.spawn("sh", "-c", "stty -echo; cat; echo ended", pty=True)
            await asyncio.sleep(0.2)
            await c.write_all(spawned, text)
            result = await c.finish(spawned["id"])
            self.assertTrue(result.stdout.endswith(b"ended\r\n"), result.stdout)
            self.assertIn(text.strip(), result.stdout)

    async def test_nothing_is_lost_at_the_end(self):
        c = await self.connect(hello=["raw"])
        for _ in range(30):
            result = await c.run("sh", "-c", "stty -opost; seq 1 20000; exit 3", pty=True)
            self.assertEqual(result.code, 3)
            self.assertEqual(result.stdout, b"".join(b"%d\n" % n for n in range(1, 20001)))

    async def test_background_holds_the_terminal(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "(sleep 100 &) ; echo done", pty=True)
        self.assertEqual((result.code, result.stdout), (0, b"done\r\n"))

    async def test_terminal_of_another_user(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "tty; echo hi > /dev/tty; stat -c %u $(tty)", pty=True, uid=1000)
        self.assertTrue(result.stdout.endswith(b"hi\r\n1000\r\n"), result.stdout)

    async def test_abort_with_terminal(self):
        c = await Client.open(self.vmd)
        await c.spawn("sh", "-c", "trap '' HUP TERM; sleep 100", pty=True)
        await c.close()
        await self.assert_no_children()


if __name__ == "__main__":
    unittest.main()
