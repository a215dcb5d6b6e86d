"""Who gets into the web terminal, and what a page that is not ours can do: plain HTTP and WebSocket
clients against `kage web` on a real machine. The numbers are those of the hostile suite."""

import asyncio
import http.client
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import websockets
except ImportError:
    print("skipped: there is no python3-websockets")
    sys.exit(77)

KAGE = os.environ["KAGE"]
KEY, OPEN, ATTACH, INPUT, RESIZE, ACK, CLOSE = range(1, 8)
STATE, OUTPUT, CREDIT, FROM, OPENED, REFUSED, TAKEN = range(0x81, 0x88)
INPUT_WINDOW = 64 * 1024


class Web:
    """One `kage web`, and a browser's part of its protocol."""

    def __init__(self, machine, env):
        self.process = subprocess.Popen(
            [KAGE, "web", machine, "--port=0"], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        url = self.process.stdout.readline().decode().strip()
        self.origin, self.secret = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/#([0-9a-f]{64})", url).groups()
        self.host = self.origin[len("http://"):]
        self.port = int(self.host.split(":")[1])

    def request(self, method, path, headers=(), body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        headers = dict(headers)
        headers.setdefault("Host", self.host)
        if body is not None:
            headers["Content-Length"] = str(len(body))
        elif method == "POST":
            headers.setdefault("Content-Length", "0")
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def exchange(self, secret=None, **headers):
        headers.setdefault("Origin", self.origin)
        headers["Authorization"] = f"Bearer {self.secret if secret is None else secret}"
        return self.request("POST", "/session", headers)

    def sign_in(self):
        status, headers, key = self.exchange()
        assert status == 200, status
        self.cookie = headers["Set-Cookie"].split(";")[0]
        self.key = key
        return headers["Set-Cookie"]

    def connect(self, path="/socket", **headers):
        """A WebSocket whose every header the test chooses; None leaves one out."""
        headers.setdefault("Origin", self.origin)
        headers.setdefault("Cookie", getattr(self, "cookie", None))
        host = headers.pop("Host", None)
        origin = headers.pop("Origin")
        extra = {k: v for k, v in headers.items() if v is not None}
        # The URI's host is what the client sends as Host; the address is given apart.
        return websockets.connect(
            f"ws://{host or self.host}{path}", host="127.0.0.1", port=self.port, origin=origin,
            extra_headers=extra, compression=None, ping_interval=None, max_size=None)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=10)
        return self.process.returncode, err


def message(kind, fmt="", *fields, data=b""):
    return struct.pack("<B" + fmt, kind, *fields) + data


async def next_of(ws, *kinds, timeout=20):
    while True:
        data = await asyncio.wait_for(ws.recv(), timeout)
        if data[0] in kinds:
            return data


class Access(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="kage-web-")
        cls.env = dict(os.environ, XDG_RUNTIME_DIR=cls.folder)
        cls.machine = subprocess.run([KAGE, "start", "tiny"], env=cls.env, check=True,
                                     stdout=subprocess.PIPE, text=True).stdout.strip()

    @classmethod
    def tearDownClass(cls):
        subprocess.run([KAGE, "stop", "--all"], env=cls.env, stdout=subprocess.DEVNULL)
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        self.web = Web(self.machine, self.env)
        self.addCleanup(self.check_end)

    def check_end(self):
        self.assertIsNone(self.web.process.poll(), "kage web died")
        code, err = self.web.stop()
        self.assertEqual(code, 0, err)
        self.assertNotIn(b"Sanitizer", err)

    async def enter(self):
        """A page that has shown its cookie and its key. Returns it with the first state."""
        if not hasattr(self.web, "cookie"):
            self.web.sign_in()
        ws = await self.web.connect()
        self.addAsyncCleanup(ws.close)
        await ws.send(message(KEY, data=self.web.key))
        await next_of(ws, STATE)
        return ws

    async def shell(self, ws):
        await ws.send(message(OPEN, "HH8s", 24, 80, self.machine.encode()))
        return struct.unpack("<I", (await next_of(ws, OPENED))[1:])[0]

    def refused(self, status=403, path="/socket", **headers):
        """An upgrade that gets this answer; by hand, as clients hide the answer."""
        headers.setdefault("Origin", self.web.origin)
        headers.setdefault("Cookie", self.web.cookie)
        headers.update({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        self.assertEqual(self.web.request("GET", path, headers)[0], status, headers)

    async def hung_up(self, ws, what):
        await ws.send(what)
        with self.assertRaises(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(ws.recv(), 10)

    def test_headers_of_every_answer(self):
        for path in ("/", "/app.js", "/xterm.mjs", "/session", "/nothing"):
            _, headers, _ = self.web.request("GET", path)
            policy = headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(headers["Cross-Origin-Resource-Policy"], "same-origin")
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertIsNone(headers["Access-Control-Allow-Origin"])

    def test_only_our_files_are_served(self):
        self.assertEqual(self.web.request("GET", "/")[0], 200)
        for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/app.js/", "/?x=1",
                     "/APP.JS", "/vendor/xterm.mjs", "/session.js"):
            self.assertGreaterEqual(self.web.request("GET", path)[0], 400, path)
        self.assertEqual(self.web.request("DELETE", "/")[0] // 100, 4)
        self.assertEqual(self.web.request("POST", "/session", body=b"x" * 100)[0], 413)

    def test_page_names_no_other_host_and_has_nothing_inline(self):
        page = self.web.request("GET", "/")[2].decode()
        self.assertNotRegex(page, r"https?://|\son\w+=|style=|<style|<script(?! type=\"module\" src=)")

    async def test_37_foreign_origin(self):
        self.web.sign_in()
        for origin in ("http://evil.example", f"http://localhost:{self.web.port}",
                       "http://127.0.0.1", f"http://127.0.0.1:{self.web.port + 1}",
                       f"https://{self.web.host}", self.web.origin + "/", self.web.origin.upper(),
                       f"{self.web.origin}.evil.example"):
            self.refused(Origin=origin)
            self.assertEqual(self.web.request("GET", "/", {"Origin": origin})[0], 403, origin)

    async def test_37_foreign_origin_cannot_use_the_secret(self):
        self.assertEqual(self.web.exchange(Origin="http://evil.example")[0], 403)
        self.assertEqual(self.web.exchange(Origin=None)[0], 403)
        self.web.sign_in()  # it was not used up by them

    async def test_38_null_or_no_origin(self):
        self.web.sign_in()
        self.refused(Origin="null")
        self.refused(Origin=None)

    async def test_39_rebound_host(self):
        self.web.sign_in()
        for host in (f"evil.example:{self.web.port}", f"localhost:{self.web.port}", "127.0.0.1",
                     f"127.0.0.1.:{self.web.port}", f"[::1]:{self.web.port}", ""):
            for path in ("/", "/session", "/app.js"):
                self.assertGreaterEqual(self.web.request("GET", path, {"Host": host})[0], 400, host)
        self.refused(Host=f"evil.example:{self.web.port}")
        self.refused(Host=f"evil.example:{self.web.port}",
                           Origin=f"http://evil.example:{self.web.port}")
        self.assertGreaterEqual(self.web.request("GET", "/", {"Host": None})[0], 400)

    def test_39_two_hosts(self):
        for first, second in ((self.web.host, "evil.example"), ("evil.example", self.web.host)):
            with socket.create_connection(("127.0.0.1", self.web.port), timeout=10) as s:
                s.sendall(f"GET / HTTP/1.1\r\nHost: {first}\r\nHost: {second}\r\n\r\n".encode())
                self.assertNotIn(b" 200 ", s.recv(4096).split(b"\r\n")[0] + b" ")

    def test_40_only_loopback(self):
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table) as f:
                for line in f.readlines()[1:]:
                    address, state = line.split()[1], line.split()[3]
                    if state == "0A" and int(address.rsplit(":", 1)[1], 16) == self.web.port:
                        listening.append(address.rsplit(":", 1)[0])
        self.assertEqual(listening, ["0100007F"])

    def test_41_secret_used_twice(self):
        cookie = self.web.sign_in()
        self.assertIn("HttpOnly", cookie)
        self.assertIn("SameSite=Strict", cookie)
        self.assertIn("Path=/", cookie)
        status, headers, _ = self.web.exchange()
        self.assertEqual(status, 403)
        self.assertIsNone(headers["Set-Cookie"])

    def test_41_wrong_secret(self):
        for secret in ("", "0" * 64, self.web.secret[:-1], self.web.secret + "0",
                       self.web.secret.upper() + "x"):
            self.assertEqual(self.web.exchange(secret)[0], 403)
        self.web.sign_in()

    def test_41_secret_in_no_file_of_proc(self):
        for name in ("cmdline", "environ"):
            with open(f"/proc/{self.web.process.pid}/{name}", "rb") as f:
                self.assertNotIn(self.web.secret.encode(), f.read())

    async def test_cookie_and_key_are_both_needed(self):
        self.web.sign_in()
        name = self.web.cookie.split("=")[0]
        for cookie in (None, f"{name}={'0' * 64}", f"{name}=", self.web.cookie[:-1],
                       f"x{self.web.cookie}", f"{name}={self.web.key.decode()}"):
            self.refused(Cookie=cookie)
        for first in (message(KEY, data=b"0" * 64), message(KEY), message(KEY, data=self.web.key[:-1]),
                      message(KEY, data=self.web.key + b"0"),
                      message(KEY, data=self.web.cookie.split("=")[1].encode()),
                      message(OPEN, "HH8s", 24, 80, self.machine.encode()), b""):
            ws = await self.web.connect()
            await self.hung_up(ws, first)
        ws = await self.web.connect(Cookie=f"other=1; {self.web.cookie}; more=2")
        await ws.send(message(KEY, data=self.web.key))
        await next_of(ws, STATE)
        await ws.close()

    async def test_a_page_without_its_key_displaces_nobody(self):
        ws = await self.enter()
        other = await self.web.connect()
        await self.hung_up(other, message(KEY, data=b"0" * 64))
        await self.shell(ws)

    async def test_other_paths_are_no_sockets(self):
        self.web.sign_in()
        self.refused(status=404, path="/")
        self.refused(status=404, path="/socket/../x")
        self.refused(status=404, path="/socket?x=1")

    async def test_42_more_than_a_terminal_of_its_own(self):
        await self.enter()
        spawn = b'{"id":1,"command":"/bin/sh","uid":0}'
        for what in (
            bytes([0x01]) + struct.pack("<I", len(spawn)) + spawn,  # vmd's own frames
            bytes([0xF0]) + struct.pack("<I", 2) + b"{}",
            bytes([0x05]) + struct.pack("<I", 40) + b"x" * 40,
            message(0x08), message(0xFF), message(STATE), message(OUTPUT, "IQ", 1, 0),
            message(OPEN), message(OPEN, "HH", 24, 80),
            message(OPEN, "HH8s", 24, 80, self.machine.encode(), data=b"/bin/sh -c id"),
            message(KEY, data=self.web.key),
            message(RESIZE, "I", 1), message(ATTACH, "I", 1), message(ACK, "IQ", 1, 0, data=b"x"),
            message(INPUT, "I", 1), message(INPUT), message(CLOSE, "IH", 1, 1),
            b"\x04" + b"x" * (4 + INPUT_WINDOW + 1), b"x" * 200_000,
        ):
            ws = await self.enter()
            await self.hung_up(ws, what)
        ws = await self.enter()
        await self.hung_up(ws, "text")

    async def test_42_only_machines_of_this_user(self):
        ws = await self.enter()
        for name in (b"00000000", b"tiny\0\0\0\0", b"../../..", b"\xff" * 8, b"%n%n%n%n",
                     self.machine.encode()[:7] + b"\0"):
            await ws.send(message(OPEN, "HH8s", 24, 80, name))
            self.assertIn(b"no such machine", await next_of(ws, REFUSED))
        for rows, cols in ((0, 80), (24, 0)):
            await ws.send(message(OPEN, "HH8s", rows, cols, self.machine.encode()))
            await next_of(ws, REFUSED)

    async def test_42_no_more_shells_than_promised(self):
        ws = await self.enter()
        for _ in range(16):
            await self.shell(ws)
        await ws.send(message(OPEN, "HH8s", 24, 80, self.machine.encode()))
        self.assertIn(b"16 shells", await next_of(ws, REFUSED))

    async def test_42_input_beyond_the_credit(self):
        ws = await self.enter()
        shell = await self.shell(ws)
        for _ in range(3):
            try:
                await ws.send(message(INPUT, "I", shell, data=b"x" * INPUT_WINDOW))
            except websockets.ConnectionClosed:
                break
        # Whether kage took it on in time or hung up, it lives and the shell answers.
        ws = await self.enter()
        await self.shell(ws)

    async def test_42_unknown_shells_and_lies_are_harmless(self):
        ws = await self.enter()
        for what in (message(ATTACH, "IQ", 99, 0), message(CLOSE, "I", 0), message(INPUT, "I", 77, data=b"id\n"),
                     message(RESIZE, "IHH", 5, 1, 1), message(ACK, "IQ", 3, 2**64 - 1)):
            await ws.send(what)
        shell = await self.shell(ws)
        await ws.send(message(ATTACH, "IQ", shell, 2**64 - 1))
        self.assertEqual((await next_of(ws, FROM))[-1], 1)  # begins again
        await ws.send(message(ACK, "IQ", shell, 2**63))
        await ws.send(message(RESIZE, "IHH", shell, 65535, 65535))
        await ws.send(message(RESIZE, "IHH", shell, 0, 0))
        await ws.send(message(INPUT, "I", shell, data=b"echo $((40+2))x\n"))
        seen = b""
        while b"42x" not in seen:
            seen += (await next_of(ws, OUTPUT))[13:]

    async def test_a_page_that_never_acknowledges_is_sent_no_more_than_the_window(self):
        ws = await self.enter()
        shell = await self.shell(ws)
        await ws.send(message(ATTACH, "IQ", shell, 0))
        await ws.send(message(INPUT, "I", shell, data=b"yes\n"))
        got = 0
        with self.assertRaises(asyncio.TimeoutError):
            while True:
                got += len(await next_of(ws, OUTPUT, timeout=3)) - 13
        self.assertGreaterEqual(got, 200 * 1024)
        self.assertLessEqual(got, 256 * 1024)

    async def test_shells_end_with_kage_web(self):
        ws = await self.enter()
        shell = await self.shell(ws)
        await ws.send(message(ATTACH, "IQ", shell, 0))
        await ws.send(message(INPUT, "I", shell, data=b"""
            (trap '' HUP TERM; while :; do cat /proc/uptime > /tmp/beat; sleep 0.1; done) &
            """))

        def beat():
            return subprocess.run([KAGE, "exec", self.machine, "--", "cat", "/tmp/beat"], env=self.env,
                                  capture_output=True).stdout

        await self.until("the shell's command to run", lambda: beat() != beat())
        await ws.send(message(CLOSE, "I", shell))
        await self.until("it to end with the shell", lambda: beat() == beat() == beat())

    def test_enter_makes_a_new_address(self):
        primary, secondary = os.openpty()
        self.addCleanup(os.close, primary)
        web = subprocess.Popen([KAGE, "web", self.machine, "--port=0"], env=self.env, stdin=secondary,
                               stdout=subprocess.PIPE, stderr=secondary)
        os.close(secondary)
        self.addCleanup(web.communicate)
        self.addCleanup(web.terminate)
        first = web.stdout.readline().decode().strip()
        os.write(primary, b"\n")
        second = web.stdout.readline().decode().strip()
        origin, old = first.split("/#")
        self.assertEqual(second.split("/#")[0], origin)
        for secret, status in ((old, 403), (second.split("/#")[1], 200)):
            c = http.client.HTTPConnection(origin[len("http://"):], timeout=10)
            c.request("POST", "/session", headers={"Origin": origin, "Authorization": f"Bearer {secret}"})
            self.assertEqual(c.getresponse().status, status)
            c.close()

    async def until(self, what, condition):
        for _ in range(50):
            if await asyncio.to_thread(condition):
                return
            await asyncio.sleep(0.2)
        self.fail(f"waited in vain for {what}")


class Arguments(unittest.TestCase):
    def run_web(self, *args):
        return subprocess.run([KAGE, "web", *args], capture_output=True, text=True, timeout=20)

    def test_usage(self):
        self.assertEqual(self.run_web("--help").returncode, 0)
        for args in ((), ("a", "b"), ("a", "1", "2"), ("a", "65536"), ("a", "-1"), ("a", "--port=x"),
                     ("--port=1", "a", "2"), ("--user=", "a"), ("--what",)):
            self.assertEqual(self.run_web(*args).returncode, 2, args)

    def test_no_such_machine(self):
        done = self.run_web("no-such-machine", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-machine", done.stderr)


if __name__ == "__main__":
    unittest.main()
