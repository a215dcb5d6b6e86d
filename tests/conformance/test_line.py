"""The protocol without WebSocket: frames on a descriptor that leads to one client after the other."""

import asyncio
import os
import socket
import struct
import tempfile
import unittest

from vmd import *


class Line:
    """What Client needs of a connection."""

    @classmethod
    async def open(cls, sock):
        line = cls()
        line.reader, line.writer = await asyncio.open_connection(sock=sock, limit=2 ** 20)
        return line

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def recv(self):
        head = await self.reader.readexactly(5)
        return head + await self.reader.readexactly(struct.unpack_from("<I", head, 1)[0])

    async def close(self):
        self.writer.close()


class Lines(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        ours, theirs = socket.socketpair()
        self.vmd = Vmd(extra=("--control", str(theirs.fileno())), pass_fds=(theirs.fileno(),))
        theirs.close()
        self.sock = ours
        self.line = await Line.open(ours)

    async def asyncTearDown(self):
        await self.line.close()
        self.assertEqual(self.vmd.stop(), 0)

    def client(self):
        return Client(self.line)

    async def greet(self, *features):
        client = self.client()
        kind, payload = await client.request(HELLO, {"id": 1, "version": 1, "features": list(features)})
        self.assertEqual((kind, payload["id"]), (HELLO_OK, 1))
        return client

    async def test_no_token_and_no_hello_is_needed(self):
        client = self.client()
        await client.ping()
        self.assertEqual((await client.run("echo", "hello")).stdout, b"hello\n")
        self.assertEqual((await client.request(STDIN_CLOSE, {"id": 5}))[1]["code"], UNKNOWN_TYPE)

    async def test_many_frames_in_one_piece(self):
        client = await self.greet("raw")
        await self.line.send(frame(PING, {"id": 1}) + frame(PING, {"id": 2}) +
                             frame(SPAWN, {"id": 3, "command": "echo", "args": ["x"]}) + frame(PING, {"id": 4}))
        self.assertEqual([await client.reply() for _ in range(2)], [(PONG, {"id": 1}), (PONG, {"id": 2})])
        self.assertEqual((await client.reply())[0], SPAWNED)
        self.assertEqual(await client.reply(), (PONG, {"id": 4}))
        self.assertEqual((await client.finish(3)).stdout, b"x\n")

    async def test_a_frame_in_many_pieces(self):
        client = await self.greet()
        for byte in frame(PING, {"id": 99}):
            await self.line.send(bytes([byte]))
            await asyncio.sleep(0.001)
        self.assertEqual(await client.reply(), (PONG, {"id": 99}))

    async def test_every_byte_comes_back(self):
        client = await self.greet("raw")
        data = os.urandom(3_000_000)
        p = await client.spawn("sha256sum")
        await client.write_all(p, data)
        for kind, payload in client.events.pop("held", []):
            client.keep(kind, payload)
        self.assertEqual((await client.finish(p["id"])).stdout.split()[0].decode(), digest(data))
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            os.chmod(f.name, 0o644)
            self.assertEqual((await client.run("cat", f.name)).stdout, data)

    async def test_a_reader_that_waits_holds_the_command_back(self):
        client = await self.greet("raw")
        p = await client.spawn("head", "-c", "50000000", "/dev/zero")
        await asyncio.sleep(1)
        before = self.vmd.memory()
        await asyncio.sleep(1)
        self.assertLess(self.vmd.memory() - before, 1_000_000)
        self.assertLess(self.vmd.peak_memory(), 64_000_000)
        self.assertEqual(len((await client.finish(p["id"])).stdout), 50_000_000)

    async def test_a_hello_begins_anew(self):
        client = await self.greet("raw")
        await client.spawn("sleep", "1000")
        self.assertEqual(len(self.vmd.children()) > 0, True)
        client = await self.greet()  # as if the other connection had been closed
        for _ in range(100):
            if not self.vmd.children():
                break
            await asyncio.sleep(0.05)
        self.assertEqual(self.vmd.children(), set())
        done = await client.run("echo", "text", id=101)
        self.assertEqual(done.stdout, b"text\n")

    async def test_the_first_hello_ends_what_came_before_it(self):
        await self.client().spawn("sleep", "1000")
        client = await self.greet("raw")
        for _ in range(100):
            if not self.vmd.children():
                break
            await asyncio.sleep(0.05)
        self.assertEqual(self.vmd.children(), set())
        self.assertEqual((await client.run("echo", "x", id=101)).stdout, b"x\n")

    async def test_a_long_frame_leaves_no_memory_behind(self):
        client = await self.greet("raw")
        await client.ping()
        before = self.vmd.memory()
        for _ in range(2):
            kind, _ = await client.request(IS_RUNNING, {"handle": "x" * 15_000_000})
            self.assertEqual(kind, ERROR)
        await client.ping()
        if not self.vmd.sanitized():
            self.assertLess(self.vmd.memory() - before, 6_000_000)

    async def test_a_peer_that_reads_no_more_costs_nothing(self):
        client = await self.greet("raw")
        await client.spawn("sh", "-c", "while sleep 0.01; do echo x; done")
        self.sock.shutdown(socket.SHUT_RD)
        await asyncio.sleep(0.5)
        before = self.ticks()
        await asyncio.sleep(1)
        self.assertLess(self.ticks() - before, 60)

    def ticks(self):
        with open(f"/proc/{self.vmd.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    async def test_parked_processes_go_to_the_next_one(self):
        client = await self.greet("raw")
        p = await client.spawn("sh", "-c", "sleep 0.5; echo late; exit 4")
        self.assertEqual((await client.request(PARK, {}))[0], OK)
        client = await self.greet("raw")
        self.assertEqual((await client.request(ADOPT, {}))[0], OK)
        done = await client.finish(p["id"])
        self.assertEqual((done.stdout, done.code), (b"late\n", 4))

    async def test_other_connections_do_not_notice(self):
        other = await Client.open(self.vmd, hello=["raw"])
        p = await other.spawn("sh", "-c", "sleep 1; exit 5")
        await self.greet()
        await self.greet()
        self.assertEqual((await other.finish(p["id"])).code, 5)
        await other.close()

    async def test_its_end_ends_its_processes_and_nothing_else(self):
        client = await self.greet()
        await client.spawn("sleep", "1000")
        await self.line.close()
        for _ in range(100):
            if not self.vmd.children():
                break
            await asyncio.sleep(0.05)
        self.assertEqual(self.vmd.children(), set())
        other = await Client.open(self.vmd)
        await other.ping()
        await other.close()

    async def test_a_frame_that_is_too_long_is_answered_and_ends_it(self):
        client = await self.greet()
        await self.line.send(struct.pack("<BI", PING, FRAME_MAX + 1) + b"x")
        kind, payload = await client.reply()
        self.assertEqual((kind, payload["code"]), (ERROR, INVALID_REQUEST))
        other = await Client.open(self.vmd)
        await other.ping()
        await other.close()
