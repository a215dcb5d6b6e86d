"""A thousand commands leave nothing behind."""

import asyncio
import unittest

from vmd import *


class Leaks(VmdTestCase):
    async def settle(self):
        await self.assert_no_children()
        return self.vmd.fds(), self.vmd.memory()

    async def test_1000_spawns(self):
        c = await self.connect(hello=["raw"])
        for n in range(50):
            await c.run("true")
        fds, memory = await self.settle()
        for n in range(1000):
            result = await c.run("echo", str(n), pty=n % 5 == 0)
            self.assertEqual(result.stdout.strip(), str(n).encode())
        self.assertEqual((await self.settle())[0], fds)
        self.assert_memory_flat(memory, 512 * 1024)

    async def test_failures(self):
        c = await self.connect()
        fds, memory = await self.settle()
        for n in range(300):
            await c.request(SPAWN, {"id": n, "command": "/nonexistent", "pty": n % 2 == 0})
            await c.request(SPAWN, {"id": n, "command": "true", "user": "nobody-at-all"})
        self.assertEqual((await self.settle())[0], fds)
        self.assert_memory_flat(memory, 512 * 1024)

    async def test_connections(self):
        await (await Client.open(self.vmd)).close()
        await asyncio.sleep(0.2)
        fds, memory = await self.settle()
        for n in range(200):
            c = await Client.open(self.vmd)
            if n % 4 == 0:
                await c.spawn("cat")
            if n % 2:
                c.ws.transport.abort()
            else:
                await c.close()
        await asyncio.sleep(0.5)
        self.assertEqual((await self.settle())[0], fds)
        self.assert_memory_flat(memory, 1024 * 1024)


if __name__ == "__main__":
    unittest.main()
