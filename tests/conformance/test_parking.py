"""Processes that outlive their connection and are adopted by another."""

import asyncio
import os
import signal
import tempfile
import unittest

from vmd import *


class Parking(VmdTestCase):
    async def park(self, c):
        self.assertEqual(await c.request(PARK, {"id": 7}), (OK, {"id": 7}))
        await c.close()
        await asyncio.sleep(0.2)

    async def test_a_parked_process_goes_on(self):
        c = await self.connect(hello=["raw"])
        with tempfile.NamedTemporaryFile() as f:
            p = await c.spawn("sh", "-c", f"echo one; read line; echo $line; for i in 1 2 3 4; do echo . >>{f.name}; "
                              "sleep 0.2; done; echo two >&2; sleep 100")
            self.assertEqual((await c.event(p["id"]))[1][1], b"one\n")
            await self.park(c)
            for _ in range(100):
                if os.path.getsize(f.name):
                    break
                await asyncio.sleep(0.05)
            # it waits for its input, which any connection can give it by its handle
            other = await self.connect(hello=[])
            self.assertEqual(os.path.getsize(f.name), 0)
            self.assertEqual((await other.request(RESIZE, {"handle": p["handle"], "rows": 1, "cols": 1}))[0], ERROR)
            self.assertEqual(await other.request(STDIN, {"handle": p["handle"], "data": "hello\n"}), (OK, {}))
            for _ in range(100):
                if os.path.getsize(f.name) == 8:
                    break
                await asyncio.sleep(0.05)
            self.assertEqual(os.path.getsize(f.name), 8)
        self.assertEqual(other.events, {})
        kind, status = await other.request(IS_RUNNING, {"handle": p["handle"]})
        self.assertEqual((kind, status["running"]), (RUNNING_STATUS, True))
        d = await self.connect(hello=["raw"])
        self.assertEqual(await d.request(ADOPT, {"id": 8}), (OK, {"id": 8}))
        seen = {STDOUT_RAW: b"", STDERR_RAW: b"", STDIN_WINDOW: 0}
        while seen[STDOUT_RAW] != b"hello\n" or seen[STDERR_RAW] != b"two\n" or seen[STDIN_WINDOW] != 6:
            kind, payload = await d.event(p["id"])
            seen[kind] += payload["bytes"] if kind == STDIN_WINDOW else payload[1]
        self.assertEqual((await d.request(KILL, {"handle": p["handle"]}))[0], OK)
        self.assertEqual((await d.finish(p["id"])).signal, 15)
        self.assertEqual(other.events, {})

    async def test_an_end_is_kept(self):
        c = await self.connect(hello=[])
        quiet = await c.spawn("sh", "-c", "sleep 0.3; exit 3")
        loud = await c.spawn("sh", "-c", "sleep 0.3; echo out; echo err >&2; kill -9 $$")
        await self.park(c)
        await self.assert_no_children()
        d = await self.connect(hello=[])
        self.assertEqual((await d.request(ADOPT, {}))[0], OK)
        self.assertEqual((await d.finish(quiet["id"])).code, 3)
        end = await d.finish(loud["id"])
        self.assertEqual((end.code, end.signal, end.stdout, end.stderr), (137, 9, b"out\n", b"err\n"))

    async def test_output_waits_and_none_is_lost(self):
        c = await self.connect(hello=["raw"])
        p = await c.spawn("sh", "-c", "sleep 0.1; head -c 3000000 /dev/zero | tr '\\0' x; echo end")
        before = self.vmd.memory()
        await self.park(c)
        await asyncio.sleep(0.5)
        self.assert_memory_flat(before, 1 << 20)
        d = await self.connect(hello=["raw"])
        await d.request(ADOPT, {})
        end = await d.finish(p["id"])
        self.assertEqual((end.code, end.stdout), (0, b"x" * 3000000 + b"end\n"))

    async def test_a_character_in_two_halves(self):
        """The new connection's way to be told is what counts."""
        c = await self.connect(hello=["raw"])
        p = await c.spawn("sh", "-c", "read a; printf '\\303'; sleep 0.3; printf '\\244'")
        await self.park(c)
        d = await self.connect(hello=[])
        await d.request(ADOPT, {})
        await d.request(STDIN, {"handle": p["handle"], "data": "go\n"})
        end = await d.finish(p["id"])
        self.assertEqual(end.stdout, "\u00e4".encode())

    async def test_only_its_own(self):
        a, b = await self.connect(hello=[]), await self.connect(hello=[])
        mine = await a.spawn("sleep", "100", id=1)
        theirs = await b.spawn("sleep", "100", id=1)
        await self.park(a)
        await b.close()
        c = await self.connect(hello=[])
        for _ in range(100):
            if not (await c.request(IS_RUNNING, {"handle": theirs["handle"]}))[1]["running"]:
                break
            await asyncio.sleep(0.05)
        self.assertFalse((await c.request(IS_RUNNING, {"handle": theirs["handle"]}))[1]["running"])
        self.assertTrue((await c.request(IS_RUNNING, {"handle": mine["handle"]}))[1]["running"])
        await c.request(ADOPT, {})
        await c.close()  # adopted, so it ends with this one
        await self.assert_no_children()

    async def test_what_starts_after_park_is_the_connection_s(self):
        c = await self.connect(hello=[])
        await c.request(PARK, {})
        await c.spawn("sleep", "100")
        await c.close()
        await self.assert_no_children()

    async def test_killed_while_parked(self):
        c = await self.connect(hello=[])
        p = await c.spawn("sleep", "100")
        await self.park(c)
        d = await self.connect(hello=[])
        self.assertEqual((await d.request(KILL, {"handle": p["handle"], "signal": 9}))[0], OK)
        await self.assert_no_children()
        self.assertEqual(d.events, {})
        await d.request(ADOPT, {})
        self.assertEqual((await d.finish(p["id"])).signal, 9)

    async def test_ids_that_clash(self):
        a = await self.connect(hello=[])
        first = await a.spawn("sleep", "100", id=5)
        await self.park(a)
        b = await self.connect(hello=[])
        second = await b.spawn("sleep", "100", id=5)
        await self.assert_error(b, INVALID_REQUEST, PARK, {"id": 9}, number=9, text="5")
        await self.assert_error(b, INVALID_REQUEST, ADOPT, {"id": 9}, number=9, text="5")
        await b.request(KILL, {"handle": second["handle"], "signal": 9})
        await b.finish(5)
        self.assertEqual(await b.request(ADOPT, {"id": 9}), (OK, {"id": 9}))
        await b.request(KILL, {"handle": first["handle"], "signal": 9})
        self.assertEqual((await b.finish(5)).signal, 9)

    async def test_again_and_again(self):
        c = await self.connect(hello=["raw"])
        p = await c.spawn("sh", "-c", "while read line; do echo $line; done")
        for i in range(20):
            await c.request(PARK, {})
            if i % 2:
                await c.close()
            c = await self.connect(hello=["raw"])
            await c.request(ADOPT, {})
            await c.request(STDIN, {"handle": p["handle"], "data": f"{i}\n"})
            while True:
                kind, payload = await c.event(p["id"])
                if kind == STDOUT_RAW:
                    break
            self.assertEqual(payload[1], f"{i}\n".encode())
        await c.request(STDIN_CLOSE, {"handle": p["handle"]})
        self.assertEqual((await c.finish(p["id"])).code, 0)

    async def adopt_and_go(self):
        c = await self.connect(hello=[])
        p = await c.spawn("sh", "-c", "exec >&- 2>&-; sleep 0.1")
        await self.park(c)
        await self.assert_no_children()
        d = await self.connect(hello=[])
        os.kill(self.vmd.pid, signal.SIGSTOP)  # so that it finds both at once
        try:
            await d.send(ADOPT, {})
            d.ws.transport.close()
            await asyncio.sleep(0.05)
        finally:
            os.kill(self.vmd.pid, signal.SIGCONT)
        return p["handle"]

    async def test_adopted_by_one_that_goes_at_once(self):
        handles = [await self.adopt_and_go() for _ in range(8)]
        c = await self.connect(hello=[])
        await asyncio.sleep(0.5)
        for handle in handles:
            self.assertFalse((await c.request(IS_RUNNING, {"handle": handle}))[1]["running"])

    async def test_extensions_need_hello(self):
        c = await self.connect()
        for kind in (PARK, ADOPT):
            await self.assert_error(c, UNKNOWN_TYPE, kind, {})
        d = await self.connect(hello=[])
        self.assertEqual(await d.request(PARK, {}), (OK, {}))
        self.assertEqual(await d.request(ADOPT, {}), (OK, {}))


if __name__ == "__main__":
    unittest.main()
