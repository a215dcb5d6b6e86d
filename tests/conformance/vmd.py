"""Runs vmd and speaks its protocol with a codec of its own.

Nothing here comes from the project's C code: the frames are built from the text
of docs/protocol.md, and the WebSocket side is Debian's python3-websockets. So a
mistake that vmd and kage share shows up as a difference.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

import websockets

SPAWN, STDIN, KILL, RESIZE, MOUNT, UNMOUNT = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
SESSION_CREATE, BINARY_INSTALL, FS_READ, LOAD_STATE = 0x07, 0x08, 0x09, 0x0A
IS_RUNNING, SESSION_DESTROY = 0x0B, 0x0C
HELLO, STDIN_CLOSE, STDIN_RAW, RESUME, PROBE, PREPARE = 0x10, 0x11, 0x12, 0x13, 0x14, 0x17
PARK, ADOPT = 0x15, 0x16
SPAWNED, STDOUT, STDERR, EXIT, ERROR, OK = 0x81, 0x82, 0x83, 0x84, 0x85, 0x86
DATA, RUNNING_STATUS, NETWORK_STATUS = 0x87, 0x88, 0x89
HELLO_OK, STDOUT_RAW, STDERR_RAW, STDIN_WINDOW = 0x90, 0x91, 0x92, 0x93
PING, PONG = 0xF0, 0xF1

OUTPUT = {STDOUT, STDERR, STDOUT_RAW, STDERR_RAW}
EVENTS = OUTPUT | {EXIT, STDIN_WINDOW}

PARSE, INVALID_REQUEST, UNKNOWN_TYPE, INVALID_PARAMS = -32700, -32600, -32601, -32602
E_SPAWN, E_NO_PROCESS, E_MOUNT, E_USER, E_INSTALL = -32000, -32001, -32002, -32003, -32004

FRAME_MAX = 16 * 1024 * 1024
STDIN_WINDOW_BYTES = 256 * 1024


def frame(kind, payload=b""):
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, ensure_ascii=False).encode()
    return struct.pack("<BI", kind, len(payload)) + payload


def parse(message):
    """Takes a frame apart and checks its layout. Returns (type, dict or (id, bytes))."""
    assert isinstance(message, bytes), "a text message"
    kind, length = struct.unpack_from("<BI", message)
    payload = message[5:]
    assert length == len(payload), f"length {length} but {len(payload)} bytes follow"
    if kind in (STDOUT_RAW, STDERR_RAW):
        return kind, (struct.unpack_from("<I", payload)[0], payload[4:])
    return kind, json.loads(payload.decode())


def output_bytes(message):
    if message.get("encoding") == "base64":
        return base64.b64decode(message["data"], validate=True)
    assert "encoding" not in message, message
    return message["data"].encode()


class Vmd:
    """One vmd process on this host."""

    def __init__(self, root=None, extra=(), pass_fds=()):
        self.folder = tempfile.mkdtemp(prefix="vmd-test-")
        self.token = secrets.token_hex(32)
        token_file = os.path.join(self.folder, "token")
        with open(token_file, "w") as f:
            f.write(self.token)
        args = [os.environ["KAGE_VMD"], "--listen", "127.0.0.1:0", "--token-file", token_file,
                "--helper", os.environ["KAGE_HELPER"], *extra]
        if root:
            args += ["--root", root]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, cwd="/", pass_fds=pass_fds)
        self.port = int(self.process.stdout.readline())
        self.pid = self.process.pid

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """Anonymous resident memory in bytes."""
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def peak_memory(self):
        """The most resident memory so far, in bytes."""
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))

    def sanitized(self):
        """Whether this vmd keeps freed memory back on purpose."""
        with open(f"/proc/{self.pid}/maps") as f:
            return "libasan" in f.read()

    def children(self):
        """Every process below vmd."""
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{name}/stat") as f:
                        parents[int(name)] = int(f.read().rpartition(")")[2].split()[1])
        found, new = set(), {self.pid}
        while new:
            new = {pid for pid, parent in parents.items() if parent in new} - found
            found |= new
        return found

    def stop(self):
        """Ends vmd and says how it ended; with a sanitizer, leaks show here."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


class Result:
    def __init__(self, code, signal_number, stdout, stderr, message):
        self.code, self.signal, self.stdout, self.stderr = code, signal_number, stdout, stderr
        self.message = message


class Client:
    def __init__(self, ws):
        self.ws = ws
        self.events = {}
        self.last_id = 100

    @classmethod
    async def open(cls, vmd, token=None, hello=None, **options):
        options.setdefault("max_size", None)
        options.setdefault("ping_interval", None)
        options.setdefault("compression", None)
        headers = {"Authorization": "Bearer " + (token or vmd.token)}
        headers.update(options.pop("headers", {}))
        ws = await websockets.connect(f"ws://127.0.0.1:{vmd.port}/", extra_headers=headers,
                                      **options)
        client = cls(ws)
        if hello is not None:
            kind, _ = await client.request(HELLO, {"id": 1, "version": 1, "features": hello})
            assert kind == HELLO_OK
        return client

    async def close(self):
        await self.ws.close()

    async def send(self, kind, payload=b""):
        await self.ws.send(frame(kind, payload))

    async def send_bytes(self, data):
        await self.ws.send(data)

    async def frame(self, timeout=20):
        return parse(await asyncio.wait_for(self.ws.recv(), timeout))

    async def reply(self, timeout=20):
        """The next frame that is an answer; what processes report is kept for later."""
        while True:
            kind, payload = await self.frame(timeout)
            if kind not in EVENTS:
                return kind, payload
            self.keep(kind, payload)

    def keep(self, kind, payload):
        number = payload[0] if isinstance(payload, tuple) else payload["id"]
        self.events.setdefault(number, []).append((kind, payload))

    async def request(self, kind, payload):
        await self.send(kind, payload)
        return await self.reply()

    async def event(self, number, timeout=20):
        """The next thing that process `number` reports."""
        while not self.events.get(number):
            kind, payload = await self.frame(timeout)
            assert kind in EVENTS, (kind, payload)
            self.keep(kind, payload)
        return self.events[number].pop(0)

    def new_id(self):
        self.last_id += 1
        return self.last_id

    async def spawn(self, *argv, **fields):
        """Starts a command and returns its `spawned` message."""
        fields.setdefault("id", self.new_id())
        kind, payload = await self.request(
            SPAWN, {"command": argv[0], "args": list(argv[1:]), **fields})
        assert kind == SPAWNED, (kind, payload)
        assert payload["id"] == fields["id"]
        return payload

    async def finish(self, number, timeout=60):
        """Everything a process writes, up to its exit."""
        stdout, stderr = bytearray(), bytearray()
        while True:
            kind, payload = await self.event(number, timeout)
            if kind in (STDOUT_RAW, STDERR_RAW):
                (stdout if kind == STDOUT_RAW else stderr).extend(payload[1])
            elif kind in (STDOUT, STDERR):
                (stdout if kind == STDOUT else stderr).extend(output_bytes(payload))
            elif kind == EXIT:
                return Result(payload["code"], payload.get("signal"), bytes(stdout),
                              bytes(stderr), payload)

    async def run(self, *argv, timeout=60, **fields):
        spawned = await self.spawn(*argv, **fields)
        return await self.finish(spawned["id"], timeout)

    async def ping(self, timeout=5):
        await self.send(PING, {"id": 4242})
        kind, payload = await self.reply(timeout)
        assert kind == PONG and payload == {"id": 4242}, (kind, payload)

    async def write_all(self, spawned, data):
        """Sends standard input as raw frames, never more than the window, then its end."""
        number, room = spawned["id"], STDIN_WINDOW_BYTES
        at = 0
        while at < len(data):
            if room == 0:
                kind, payload = await self.event(number)
                if kind == STDIN_WINDOW:
                    room += payload["bytes"]
                else:
                    self.events.setdefault("held", []).append((kind, payload))
                continue
            part = data[at:at + min(room, 65536)]
            await self.send(STDIN_RAW, struct.pack("<I", number) + part)
            at += len(part)
            room -= len(part)
        kind, payload = await self.request(STDIN_CLOSE, {"id": number})
        assert kind == OK, payload


def digest(data):
    return hashlib.sha256(data).hexdigest()


def libraries(program):
    """The shared libraries of a program, its loader included; none if it is static."""
    ldd = subprocess.run(["ldd", program], capture_output=True, text=True)
    return [word for word in ldd.stdout.split() if word.startswith("/")]


def make_root():
    """A root file system of one static busybox."""
    busybox = shutil.which("busybox")
    if not busybox or libraries(busybox):
        raise unittest.SkipTest("needs a static busybox (package busybox-static)")
    root = tempfile.mkdtemp(prefix="vmd-root-")
    os.chmod(root, 0o755)
    for name in ("bin", "etc", "root", "usr/local/bin", "var"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True,
                                 check=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(root, "bin", applet))
    # A helper built with sanitizers is not static and is started inside this root.
    for library in libraries(os.environ["KAGE_HELPER"]):
        os.makedirs(root + os.path.dirname(library), exist_ok=True)
        shutil.copy(library, root + library)
    with open(os.path.join(root, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\n")
    with open(os.path.join(root, "etc/group"), "w") as f:
        f.write("root:x:0:\ntty:x:5:\nextra:x:77:\n")
    return root


class VmdTestCase(unittest.IsolatedAsyncioTestCase):
    """One vmd for all tests of a class; it must be alive and end cleanly after them."""

    wants_root_folder = False

    @classmethod
    def setUpClass(cls):
        cls.root = make_root() if cls.wants_root_folder else None
        cls.vmd = Vmd(root=cls.root)

    @classmethod
    def tearDownClass(cls):
        code = cls.vmd.stop()
        if cls.root:
            shutil.rmtree(cls.root, ignore_errors=True)
        assert code == 0, f"vmd ended with {code}"

    async def asyncSetUp(self):
        self.clients = []

    async def asyncTearDown(self):
        for client in self.clients:
            await client.close()
        self.assertIsNone(self.vmd.process.poll(), "vmd died")

    async def connect(self, **options):
        client = await Client.open(self.vmd, **options)
        self.clients.append(client)
        return client

    async def assert_error(self, client, code, kind, payload, number=None, text=None):
        reply_kind, reply = await client.request(kind, payload)
        self.assertEqual(reply_kind, ERROR, reply)
        self.assertEqual(reply["code"], code, reply)
        self.assertTrue(reply["message"])
        if number is not None:
            self.assertEqual(reply.get("id"), number)
        if text:
            self.assertIn(text, reply["message"])
        return reply

    def assert_memory_flat(self, before, allowed):
        if not self.vmd.sanitized():
            self.assertLess(self.vmd.memory() - before, allowed)

    async def assert_no_children(self, seconds=5):
        for _ in range(seconds * 20):
            left = self.vmd.children()
            if not left:
                return
            await asyncio.sleep(0.05)
        self.fail(f"processes left: {left}")
