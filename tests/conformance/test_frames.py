"""The layout of frames, bad input, and the order of answers."""

import json
import struct
import unittest

from vmd import *


class Frames(VmdTestCase):
    async def test_layout_of_the_seed(self):
        """[type:u8][len:u32 LE][json], lengths in bytes of UTF-8."""
        c = await self.connect()
        text = "ä€𝄞"
        body = json.dumps({"id": 7, "command": "printf", "args": ["%s", text]},
                          ensure_ascii=False).encode()
        await c.send_bytes(b"\x01" + len(body).to_bytes(4, "little") + body)
        message = await c.ws.recv()
        self.assertEqual(message[0], 0x81)
        self.assertEqual(int.from_bytes(message[1:5], "little"), len(message) - 5)
        self.assertEqual(set(json.loads(message[5:])), {"id", "pid", "handle"})
        result = await c.finish(7)
        self.assertEqual(result.stdout, text.encode())
        self.assertEqual(result.message, {"id": 7, "code": 0})

    async def test_ping(self):
        c = await self.connect()
        self.assertEqual(await c.request(PING, {}), (PONG, {}))
        self.assertEqual(await c.request(PING, b""), (PONG, {}))
        self.assertEqual(await c.request(PING, {"id": 3}), (PONG, {"id": 3}))
        await c.send(PONG, {})  # an answer: gets none
        await c.ping()

    async def test_lengths(self):
        c = await self.connect()
        bad = [b"", b"\xf0", b"\xf0\x00\x00\x00", b"\xf0\x02\x00\x00\x00{", b"\xf0\x00\x00\x00\x00{",
               b"\xf0\xff\xff\xff\xff{}", struct.pack("<BI", PING, FRAME_MAX + 1) + b"{}"]
        for data in bad:
            await c.send_bytes(data)
            kind, payload = await c.reply()
            self.assertEqual((kind, payload["code"]), (ERROR, INVALID_REQUEST), data)
        await c.ping()

    async def test_unknown_types(self):
        c = await self.connect()
        requests = set(range(0x01, 0x0D)) | {HELLO, PING, PONG}
        for kind in set(range(256)) - requests:
            await c.send(kind, {"id": 1})
            got, payload = await c.reply()
            self.assertEqual((got, payload["code"]), (ERROR, UNKNOWN_TYPE), kind)
        await c.ping()

    async def test_message_too_long(self):
        """More than a frame can hold closes the connection, and only that one."""
        other = await self.connect()
        c = await self.connect()
        with self.assertRaises(websockets.ConnectionClosed) as caught:
            await c.send_bytes(frame(PING, b"{" + b" " * (FRAME_MAX + 1) + b"}"))
            while True:
                await c.frame()
        self.assertEqual(caught.exception.rcvd.code if caught.exception.rcvd else 1009, 1009)
        await other.ping()

    async def test_fragments(self):
        """A message may come in any number of WebSocket fragments."""
        c = await self.connect()
        data = frame(PING, {"id": 9})
        await c.ws.send([data[:1], data[1:4], data[4:5], b"", data[5:]])
        self.assertEqual(await c.reply(), (PONG, {"id": 9}))

    async def test_text_message(self):
        c = await self.connect()
        await c.ws.send("not binary")
        with self.assertRaises(websockets.ConnectionClosed) as caught:
            await c.frame()
        self.assertEqual(caught.exception.rcvd.code, 1003)

    async def test_json(self):
        c = await self.connect()
        for body in (b"{", b"[]", b"null", b"1", b'"x"', b"{}{}", b"{}x", b"\xff", b'{"id":1,}',
                     b"{'id':1}", b'{"a":"\xed\xa0\x80"}', b"[" * 5000):
            await c.send(SPAWN, body)
            kind, payload = await c.reply()
            self.assertEqual((kind, payload["code"]), (ERROR, PARSE), body[:20])
        await c.ping()

    async def test_very_many_values(self):
        """A frame of small values would be fifty times as large in vmd's memory."""
        c = await self.connect()
        for key, value in (("args", '""'), ("x", "1"), ("x", "[]"), ("x", "{}"), ("x", '{"":{}}')):
            many = ",".join([value] * ((FRAME_MAX - 64) // (len(value) + 1)))
            await c.send(SPAWN, f'{{"command":"true","{key}":[{many}]}}'.encode())
            kind, payload = await c.reply()
            self.assertEqual((kind, payload["code"]), (ERROR, INVALID_PARAMS), value)
            self.assertIn("262144 values", payload["message"])
        if not self.vmd.sanitized():
            self.assertLess(self.vmd.peak_memory(), 200 << 20)
        await c.ping()

    async def test_fields(self):
        c = await self.connect()
        bad = [
            {}, {"id": 1}, {"command": "true"}, {"id": 1, "command": ""},
            {"id": 1, "command": 5}, {"id": 1, "command": ["true"]},
            {"id": -1, "command": "true"}, {"id": 1.5, "command": "true"},
            {"id": "1", "command": "true"}, {"id": 2**32, "command": "true"},
            {"id": True, "command": "true"},
            {"id": 1, "command": "true", "args": "x"}, {"id": 1, "command": "true", "args": [1]},
            {"id": 1, "command": "true", "args": {"0": "x"}},
            {"id": 1, "command": "true", "uid": 2**32 - 1}, {"id": 1, "command": "true", "uid": -1},
            {"id": 1, "command": "true", "uid": 1.5}, {"id": 1, "command": "true", "uid": "0"},
            {"id": 1, "command": "true", "uid": 1e300}, {"id": 1, "command": "true", "gid": 2**32},
            {"id": 1, "command": "true", "pty": 1}, {"id": 1, "command": "true", "network": "yes"},
            {"id": 1, "command": "true", "cwd": "relative"}, {"id": 1, "command": "true", "cwd": 1},
            {"id": 1, "command": "true", "seccomp_profile": "open"},
            {"id": 1, "command": "true", "env": ["A=b"]}, {"id": 1, "command": "true", "env": {"A": 1}},
            {"id": 1, "command": "true", "env": {"A=": "b"}}, {"id": 1, "command": "true", "env": {"": "b"}},
            {"id": 1, "command": "true", "rows": 0}, {"id": 1, "command": "true", "cols": 65536},
        ]
        for body in bad:
            await c.send(SPAWN, body)
            kind, payload = await c.reply()
            self.assertEqual((kind, payload["code"]), (ERROR, INVALID_PARAMS), body)
            if isinstance(body.get("id"), int) and not isinstance(body["id"], bool) \
                    and 0 <= body["id"] < 2**32:
                self.assertEqual(payload["id"], body["id"], body)
        await c.ping()

    async def test_names(self):
        """The same name twice, in another case, or a NUL: refused, never guessed at."""
        c = await self.connect()
        for body in (b'{"id":1,"command":"true","command":"false"}',
                     b'{"id":1,"id":2,"command":"true"}',
                     b'{"id":1,"Command":"true"}', b'{"id":1,"command":"true","UID":0}',
                     b'{"ID":1,"command":"true"}',
                     b'{"id":1,"command":"true","uid":1000,"uid":0}',
                     b'{"id":1,"command":"tr\\u0000ue"}',
                     b'{"id":1,"command":"true","args":["a\\u0000b"]}',
                     b'{"id":1,"command":"true","env":{"A":"\\u0000"}}'):
            await c.send(SPAWN, body)
            kind, payload = await c.reply()
            self.assertEqual((kind, payload["code"]), (ERROR, INVALID_PARAMS), body)
        result = await c.run("printf", "%s", "\\u0000")  # a backslash is not an escape
        self.assertEqual(result.code, 0)

    async def test_unknown_fields_are_ignored(self):
        c = await self.connect()
        result = await c.run("true", colour="red", nested={"a": [1, {"b": None}]})
        self.assertEqual(result.code, 0)

    async def test_every_request_gets_one_answer_in_order(self):
        c = await self.connect()
        sent = []
        for n in range(200):
            kind = (PING, KILL, IS_RUNNING, STDIN, RESIZE, UNMOUNT, FS_READ, 0x55, SPAWN)[n % 9]
            body = {"id": n, "handle": "p999999", "signal": 9, "data": "x", "rows": 1, "cols": 1,
                    "mount_point": "relative", "path": "/nonexistent", "command": "/nonexistent"}
            sent.append((n, kind))
            await c.send(kind, body)
        for n, kind in sent:
            got, payload = await c.reply()
            self.assertEqual(got, PONG if kind == PING else ERROR, (n, kind, payload))
            if kind != 0x55:
                self.assertEqual(payload["id"], n)

    async def test_later_requests_wait_for_spawn(self):
        c = await self.connect()
        await c.send(SPAWN, {"id": 1, "command": "cat"})
        await c.send(STDIN, {"id": 1, "data": "hello"})
        await c.send(PING, {"id": 2})
        await c.send(SPAWN, {"id": 3, "command": "/nonexistent"})
        await c.send(KILL, {"id": 1, "signal": 9})
        kinds = [await c.reply() for _ in range(5)]
        self.assertEqual([k for k, _ in kinds], [SPAWNED, OK, PONG, ERROR, OK])
        self.assertEqual([p["id"] for _, p in kinds], [1, 1, 2, 3, 1])
        result = await c.finish(1)
        self.assertEqual((result.code, result.signal), (137, 9))

    async def test_extensions_need_hello(self):
        c = await self.connect()
        for kind in (STDIN_CLOSE, STDIN_RAW, RESUME):
            await self.assert_error(c, UNKNOWN_TYPE, kind, {"id": 1}, text="hello")
        kind, payload = await c.request(HELLO, {"id": 5, "version": 1, "features": ["raw", "later"]})
        self.assertEqual(kind, HELLO_OK)
        self.assertEqual(payload["id"], 5)
        self.assertEqual(payload["version"], 1)
        self.assertIn("raw", payload["features"])
        self.assertEqual(payload["frame_max"], FRAME_MAX)
        self.assertEqual(payload["stdin_window"], STDIN_WINDOW_BYTES)
        self.assertRegex(payload["boot_id"], "^[0-9a-f]{32}$")
        await self.assert_error(c, INVALID_REQUEST, HELLO, {"id": 6, "version": 1})
        other = await self.connect()
        await self.assert_error(other, INVALID_PARAMS, HELLO, {"id": 6})
        await self.assert_error(other, INVALID_PARAMS, HELLO, {"id": 6, "version": 0})

    async def test_raw_frames_that_are_wrong(self):
        c = await self.connect(hello=["raw"])
        await self.assert_error(c, INVALID_REQUEST, STDIN_RAW, b"\x01\x00")
        await self.assert_error(c, E_NO_PROCESS, STDIN_RAW, b"\x01\x00\x00\x00abc", number=1)
        await c.ping()

    async def test_bad_input_leaves_other_processes_alone(self):
        other = await self.connect()
        spawned = await other.spawn("cat")
        c = await self.connect()
        for _ in range(100):
            await c.send_bytes(b"\x01\xff\xff\xff\xff")
            await c.send(SPAWN, b'{"id":1')
        for _ in range(200):
            self.assertEqual((await c.reply())[0], ERROR)
        self.assertEqual((await other.request(STDIN, {"id": 1, "handle": spawned["handle"],
                                                      "data": "still here"}))[0], OK)
        kind, payload = await other.event(spawned["id"])
        self.assertEqual((kind, payload["data"]), (STDOUT, "still here"))


if __name__ == "__main__":
    unittest.main()
