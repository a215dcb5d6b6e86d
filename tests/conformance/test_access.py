"""Who gets in, and who cannot keep others out."""

import asyncio
import http.client
import socket
import unittest

from vmd import *


class Access(VmdTestCase):
    async def refused(self, **options):
        with self.assertRaises((websockets.InvalidStatusCode, websockets.InvalidHandshake,
                                ConnectionError, asyncio.TimeoutError)):
            await asyncio.wait_for(self.connect(**options), 10)

    async def test_no_token(self):
        with self.assertRaises((websockets.InvalidHandshake, ConnectionError)):
            await websockets.connect(f"ws://127.0.0.1:{self.vmd.port}/")
        await (await self.connect()).ping()

    async def test_wrong_tokens(self):
        good = self.vmd.token

        def another(digit):
            return "0" if digit != "0" else "1"

        for token in ("0" * 64, good[:-1] + another(good[-1]), another(good[0]) + good[1:], good[:-1], good + "0",
                      good.upper() if good.upper() != good else "A" * 64, " ", "x" * 400, "é" * 32):
            await self.refused(token=token)
        await (await self.connect()).ping()

    async def test_wrong_token_1000_times(self):
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.vmd.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                         b"Authorization: Bearer " + b"0" * 64 + b"\r\n\r\n")
            data = await asyncio.wait_for(reader.read(4096), 10)
            self.assertRegex(data, b"^HTTP/1\\.[01] 401 ")
            writer.close()
        await (await self.connect()).ping()

    async def test_origin(self):
        for origin in ("http://localhost", "https://example.org", "null", "file://"):
            await self.refused(origin=origin)
        await (await self.connect()).ping()

    async def test_plain_http(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.vmd.port, timeout=10)
        connection.request("GET", "/", headers={"Authorization": "Bearer " + self.vmd.token})
        self.assertEqual(connection.getresponse().status, 404)
        connection.close()
        await (await self.connect()).ping()

    async def test_idle_connections_keep_nobody_out(self):
        idle = [socket.create_connection(("127.0.0.1", self.vmd.port)) for _ in range(200)]
        half = [socket.create_connection(("127.0.0.1", self.vmd.port)) for _ in range(200)]
        for s in half:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        client = await asyncio.wait_for(self.connect(), 10)
        await client.ping()
        self.assertEqual((await client.run("echo", "in")).stdout, b"in\n")
        for s in idle + half:
            s.close()

    async def test_idle_clients_keep_nobody_out(self):
        clients = [await self.connect() for _ in range(100)]
        await (await self.connect()).ping()
        for client in clients:
            await client.ping()

    async def test_token_is_nowhere_to_be_seen(self):
        client = await self.connect()
        result = await client.run("sh", "-c", "cat /proc/*/cmdline /proc/*/environ; env; ls -l /proc/self/fd")
        self.assertNotIn(self.vmd.token.encode(), result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
