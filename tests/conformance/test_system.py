"""Sessions, mounts and files, in a root folder of their own."""

import asyncio
import base64
import errno
import os
import unittest

from vmd import *


class System(VmdTestCase):
    wants_root_folder = True

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def read(self, name):
        with open(self.path(name)) as f:
            return f.read()

    # ---- probes ----

    async def test_probe_of_a_port(self):
        c = await self.connect(hello=[])
        error = await self.assert_error(c, INVALID_REQUEST, PROBE, {"id": 3, "port": 7411}, number=3)
        self.assertEqual(error["errno"], errno.ECONNREFUSED)
        server = await c.spawn("nc", "-ll", "-p", "7411", "-e", "true")
        for _ in range(200):
            kind, reply = await c.request(PROBE, {"id": 4, "port": 7411})
            if kind == OK:
                break
            await asyncio.sleep(0.02)
        self.assertEqual((kind, reply), (OK, {"id": 4}))
        # commands with network have another loopback
        await self.assert_error(c, INVALID_REQUEST, PROBE, {"port": 7411, "network": True})
        self.assertEqual((await c.request(KILL, {"handle": server["handle"], "signal": 9}))[0], OK)
        await c.finish(server["id"])
        # vmd is back where it was
        self.assertEqual((await (await self.connect()).run("true")).code, 0)

    async def test_probe_of_a_path(self):
        c = await self.connect(hello=[])
        error = await self.assert_error(c, INVALID_REQUEST, PROBE, {"path": "/tmp/probe"})
        self.assertEqual(error["errno"], errno.ENOENT)
        await c.run("sh", "-c", "mkdir /tmp/probe && ln -s nowhere /tmp/probe/link && mkfifo /tmp/probe/fifo")
        for path in ("/tmp/probe", "/tmp/probe/", "/tmp/probe/fifo", "/etc/passwd"):
            self.assertEqual(await c.request(PROBE, {"id": 1, "path": path}), (OK, {"id": 1}), path)
        await self.assert_error(c, INVALID_REQUEST, PROBE, {"path": "/tmp/probe/link"})
        await self.assert_error(c, INVALID_REQUEST, PROBE, {"path": "/proc/self/root/etc/passwd"})

    async def test_probes_that_are_wrong(self):
        c = await self.connect(hello=[])
        for payload in ({}, {"port": 1, "path": "/"}, {"path": "tmp"}, {"path": ""}, {"port": 0},
                        {"port": 65536}, {"port": "80"}):
            await self.assert_error(c, INVALID_PARAMS, PROBE, payload)
        await self.assert_error(await self.connect(), UNKNOWN_TYPE, PROBE, {"path": "/"})

    # ---- sessions ----

    async def test_session(self):
        c = await self.connect()
        kind, payload = await c.request(SESSION_CREATE, {"id": 4, "uid": 1000, "username": "tester"})
        self.assertEqual((kind, payload), (OK, {"id": 4, "uid": 1000, "gid": 1000,
                                                "username": "tester", "home_dir": "/home/tester"}))
        self.assertEqual(await c.request(SESSION_CREATE, {"id": 4, "uid": 1000, "username": "tester"}),
                         (kind, payload))  # twice is as good as once
        self.assertEqual(self.read("/etc/passwd").count("tester"), 2)
        self.assertIn("tester:x:1000:1000::/home/tester:/bin/sh\n", self.read("/etc/passwd"))
        status = os.stat(self.path("/home/tester"))
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o7777), (1000, 1000, 0o700))
        result = await c.run("sh", "-c", "id -un; id -gn; echo $HOME; touch ~/f; stat -c %u ~/f", user="tester")
        self.assertEqual(result.stdout.decode().split(), ["tester", "tester", "/home/tester", "1000"])
        spawned = await c.spawn("sleep", "100", user="tester")
        self.assertEqual(await c.request(SESSION_DESTROY, {"id": 6, "uid": 1000, "delete_home": True}),
                         (OK, {"id": 6}))
        self.assertEqual((await c.finish(spawned["id"])).code, 137)
        self.assertFalse(os.path.exists(self.path("/home/tester")))
        for name in ("passwd", "group", "shadow"):
            self.assertNotIn("tester", self.read("/etc/" + name))
        await self.assert_error(c, E_USER, SESSION_DESTROY, {"id": 6, "uid": 1000})

    async def test_session_defaults_and_options(self):
        c = await self.connect(hello=[])
        kind, payload = await c.request(SESSION_CREATE, {"uid": 1100})
        self.assertEqual(payload, {"uid": 1100, "gid": 1100, "username": "user1100", "home_dir": "/home/user1100"})
        kind, payload = await c.request(SESSION_CREATE, {
            "uid": 1101, "gid": 77, "username": "builder", "groups": [5, 88], "home": "/srv/build", "shell": "/bin/ash"})
        self.assertEqual(payload, {"uid": 1101, "gid": 77, "username": "builder", "home_dir": "/srv/build"})
        result = await c.run("sh", "-c", "id -g; id -G; echo $HOME $SHELL", user="builder")
        self.assertEqual(result.stdout.decode().split(), ["77", "77", "5", "88", "/srv/build", "/bin/ash"])
        self.assertEqual((await c.request(SESSION_DESTROY, {"uid": 1101}))[0], OK)
        self.assertTrue(os.path.isdir(self.path("/srv/build")))
        self.assertNotIn("builder", self.read("/etc/group"))
        self.assertIn("extra:x:77:\n", self.read("/etc/group"))

    async def test_session_conflicts(self):
        c = await self.connect()
        self.assertEqual((await c.request(SESSION_CREATE, {"uid": 1200, "username": "first"}))[0], OK)
        for body in ({"uid": 1201, "username": "first"}, {"uid": 1200, "username": "second"},
                     {"uid": 1202, "username": "root"}, {"uid": 0}, {"uid": 0, "username": "root"},
                     {"uid": 65534}, {"uid": 1203, "username": "Upper"}, {"uid": 1203, "username": ""},
                     {"uid": 1203, "username": "a:b"}, {"uid": 1203, "username": "a\nb"},
                     {"uid": 1203, "username": "-a"}, {"uid": 1203, "username": "../a"},
                     {"uid": 1203, "username": "x" * 33}, {"uid": 1203, "home": "relative"},
                     {"uid": 1203, "home": "/"}, {"uid": 1203, "home": "/proc/x"}, {"uid": 1203, "home": "/a/../b"},
                     {"uid": 1203, "home": "/a:b"}, {"uid": 1203, "shell": "sh"}, {"uid": 1203, "shell": "/a\nb"}):
            await self.assert_error(c, E_USER, SESSION_CREATE, body)
        for body in ({}, {"uid": -1}, {"uid": 1.5}, {"uid": "1"}, {"uid": 2**32 - 1}, {"uid": 1203, "username": 5}):
            await self.assert_error(c, INVALID_PARAMS, SESSION_CREATE, body)
        self.assertNotIn("1203", self.read("/etc/passwd"))
        for uid in (0, 65535, 4000):
            await self.assert_error(c, E_USER, SESSION_DESTROY, {"uid": uid, "delete_home": True})

    async def test_a_home_that_was_there_stays_whose_it_is(self):
        c = await self.connect()
        os.mkdir(self.path("/shared"), 0o755)
        self.assertEqual((await c.request(SESSION_CREATE, {"uid": 1250, "home": "/shared"}))[0], OK)
        self.assertEqual(os.stat(self.path("/shared")).st_uid, 0)
        reply = await self.assert_error(c, E_USER, SESSION_DESTROY, {"uid": 1250, "delete_home": True}, text="stays")
        self.assertEqual(reply["errno"], 1)
        self.assertTrue(os.path.isdir(self.path("/shared")))
        self.assertNotIn("1250", self.read("/etc/passwd"))

    async def test_databases_that_are_not_files(self):
        """A command can put anything at these paths; vmd must not hang on it."""
        c = await self.connect()
        os.rename(self.path("/etc/group"), self.path("/etc/group.bak"))
        try:
            os.mkfifo(self.path("/etc/group"))
            await self.assert_error(c, E_USER, SESSION_CREATE, {"uid": 1300})
            await c.ping()
        finally:
            os.rename(self.path("/etc/group.bak"), self.path("/etc/group"))

    # ---- mounts ----

    async def test_tmpfs(self):
        c = await self.connect(hello=[])
        point = {"mount_point": "/scratch/deep"}
        kind, payload = await c.request(MOUNT, {"id": 1, "fs": "tmpfs", "size": 1048576, **point})
        self.assertEqual((kind, payload), (OK, {"id": 1}))
        result = await c.run("sh", "-c", "grep /scratch/deep /proc/mounts; head -c 2000000 /dev/zero > /scratch/deep/f; wc -c < /scratch/deep/f", uid=1000)
        self.assertIn(b"nosuid,nodev", result.stdout)
        self.assertEqual(result.stdout.split()[-1], b"1048576")
        await self.assert_error(c, E_MOUNT, MOUNT, {"fs": "tmpfs", **point}, text="already")
        self.assertEqual(await c.request(UNMOUNT, {"id": 2, **point}), (OK, {"id": 2}))
        await self.assert_error(c, E_MOUNT, UNMOUNT, point)
        result = await c.run("ls", "/scratch/deep")
        self.assertEqual((result.code, result.stdout), (0, b""))

    async def test_read_only_stays_so(self):
        c = await self.connect(hello=[])
        await c.request(MOUNT, {"fs": "tmpfs", "mount_point": "/ro", "read_only": True})
        result = await c.run("sh", "-c", "touch /ro/f; mount -o remount,rw /ro; touch /ro/f")
        self.assertNotEqual(result.code, 0)
        self.assertIn(b"Read-only", result.stderr)

    async def test_a_mount_reaches_running_commands_and_leaves_them(self):
        c = await self.connect(hello=[])
        spawned = await c.spawn("sh", "-c", "echo up; read x; ls /late; read x; ls /late; echo end")
        await c.event(spawned["id"])
        await c.request(MOUNT, {"fs": "tmpfs", "mount_point": "/late"})
        await c.run("touch", "/late/file")
        await c.request(STDIN, {"handle": spawned["handle"], "data": "\n"})
        self.assertEqual((await c.event(spawned["id"]))[0], STDIN_WINDOW)
        kind, payload = await c.event(spawned["id"])
        self.assertEqual(payload["data"], "file\n")
        self.assertEqual((await c.request(UNMOUNT, {"mount_point": "/late"}))[0], OK)
        await c.request(STDIN, {"handle": spawned["handle"], "data": "\n"})
        self.assertEqual((await c.finish(spawned["id"])).stdout, b"end\n")

    async def test_unmount_follows_no_link(self):
        c = await self.connect(hello=[])
        point = {"mount_point": "/trap/proc"}
        await c.request(MOUNT, {"fs": "tmpfs", **point})
        result = await c.run("sh", "-c", "mv /trap /moved && ln -s / /trap")
        if result.code == 0:  # newer kernels let a folder with a mount in another namespace move
            await self.assert_error(c, E_MOUNT, UNMOUNT, point)
            self.assertEqual((await c.run("cat", "/proc/version")).code, 0)

    async def test_mount_points(self):
        c = await self.connect(hello=[])
        os.symlink("/proc", self.path("/link"))
        for point in ("", "/", "relative", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "/a/..",
                      "/proc", "/proc/sys", "/sys", "/sys/x", "/dev", "/dev/shm", "/a\nb", "/" + "x" * 5000,
                      "/link", "/link/x", "/etc/passwd"):
            for kind in (MOUNT, UNMOUNT):
                await self.assert_error(c, E_MOUNT, kind, {"fs": "tmpfs", "mount_point": point})
        for body in ({}, {"tag": "x"}, {"mount_point": 1}, {"mount_point": "/m", "fs": "ntfs", "tag": "x"},
                     {"mount_point": "/m"}, {"mount_point": "/m", "tag": ""}, {"mount_point": "/m", "tag": "x", "read_only": 1},
                     {"mount_point": "/m", "fs": "tmpfs", "size": 0}, {"mount_point": "/m", "fs": "tmpfs", "size": "1M"}):
            await self.assert_error(c, INVALID_PARAMS, MOUNT, body)
        await self.assert_error(c, E_MOUNT, MOUNT, {"mount_point": "/m", "tag": "no-such-share"}, text="no-such-share")
        await self.assert_error(c, E_MOUNT, MOUNT, {"mount_point": "/m", "tag": "none", "fs": "disk"})
        for name in ("/proc-like", "/devices", "/system"):  # names that only begin alike
            self.assertEqual((await c.request(MOUNT, {"fs": "tmpfs", "mount_point": name}))[0], OK)
            self.assertEqual((await c.request(UNMOUNT, {"mount_point": name}))[0], OK)

    # ---- files ----

    async def test_binary_install(self):
        c = await self.connect()
        script = b"#!/bin/sh\necho installed $1\n"
        body = {"id": 2, "name": "tool", "data": base64.b64encode(script).decode()}
        self.assertEqual(await c.request(BINARY_INSTALL, body), (OK, {"id": 2}))
        self.assertEqual((await c.run("tool", "x")).stdout, b"installed x\n")
        self.assertEqual(os.stat(self.path("/usr/local/bin/tool")).st_mode & 0o7777, 0o755)
        await c.request(BINARY_INSTALL, {"name": "data.txt", "data": "", "executable": False})
        self.assertEqual(os.stat(self.path("/usr/local/bin/data.txt")).st_mode & 0o7777, 0o644)
        big = os.urandom(9 * 1024 * 1024)
        await c.request(BINARY_INSTALL, {"name": "big", "data": base64.b64encode(big).decode()})
        with open(self.path("/usr/local/bin/big"), "rb") as f:
            self.assertEqual(digest(f.read()), digest(big))
        os.symlink("/etc/passwd", self.path("/usr/local/bin/linked"))
        before = self.read("/etc/passwd")
        await c.request(BINARY_INSTALL, {"name": "linked", "data": "AAAA"})  # replaces the link
        self.assertEqual(self.read("/etc/passwd"), before)
        self.assertEqual(sorted(os.listdir(self.path("/usr/local/bin"))), ["big", "data.txt", "linked", "tool"])

    async def test_binary_install_refused(self):
        c = await self.connect()
        for name in ("", ".", "..", "a/b", "/bin/sh", "../x", "a\nb", "x" * 256):
            await self.assert_error(c, E_INSTALL, BINARY_INSTALL, {"name": name, "data": ""})
        for data in ("A", "AA", "AAA", "A===", "AA==A", "AB==", "@@@@", "AAAA\n", 5, None):
            await self.assert_error(c, INVALID_PARAMS, BINARY_INSTALL, {"name": "x", "data": data})
        self.assertFalse(os.path.exists(self.path("/usr/local/bin/x")))

    async def test_fs_read(self):
        c = await self.connect()
        with open(self.path("/var/bytes"), "wb") as f:
            f.write(bytes(range(256)))
        kind, payload = await c.request(FS_READ, {"id": 1, "path": "/var/bytes"})
        self.assertEqual((kind, payload["id"]), (DATA, 1))
        self.assertEqual(base64.b64decode(payload["data"]), bytes(range(256)))
        open(self.path("/var/empty"), "w").close()
        self.assertEqual((await c.request(FS_READ, {"path": "/var/empty"})), (DATA, {"data": ""}))
        with open(self.path("/var/large"), "wb") as f:
            f.truncate(13 * 1024 * 1024)
        os.mkfifo(self.path("/var/fifo"))
        for path, errnum in (("/nonexistent", 2), ("/var", None), ("/var/fifo", None), ("/dev/zero", None),
                             ("/proc/self/fd/3", 40), ("/proc/self/exe", 40), ("/var/large", 27)):
            reply = await self.assert_error(c, INVALID_PARAMS, FS_READ, {"id": 3, "path": path}, number=3)
            self.assertEqual(reply.get("errno"), errnum, path)
        for path in ("relative", "", "../etc/passwd", 1, None):
            await self.assert_error(c, INVALID_PARAMS, FS_READ, {"path": path})
        self.assertNotIn(b"root:x:0:0:root:/root:/bin/bash",  # the host's own file
                         base64.b64decode((await c.request(FS_READ, {"path": "/../../etc/passwd"}))[1]["data"]))

    async def test_load_state(self):
        c = await self.connect()
        await c.request(SESSION_CREATE, {"uid": 1400, "username": "stateful"})
        os.mkdir(self.path("/home/stateful/sub"))
        with open(self.path("/home/stateful/sub/state"), "w") as f:
            f.write("saved")
        os.symlink("/etc/passwd", self.path("/home/stateful/out"))
        for session in ("stateful", "1400"):
            for path in ("sub/state", "/home/stateful/sub/state"):
                kind, payload = await c.request(LOAD_STATE, {"id": 1, "session_id": session, "state_path": path})
                self.assertEqual((kind, base64.b64decode(payload["data"])), (DATA, b"saved"))
        for path in ("out", "../../etc/passwd", "/etc/passwd", "missing", "sub", ""):
            await self.assert_error(c, INVALID_PARAMS, LOAD_STATE, {"session_id": "stateful", "state_path": path})
        for session in ("nobody", "4000", "-1", "", "0x0"):
            await self.assert_error(c, E_USER, LOAD_STATE, {"session_id": session, "state_path": "x"})

    async def test_devices(self):
        c = await self.connect()
        result = await c.run("sh", "-c", "ls /dev; ls -A /sys/firmware; echo x > /dev/null; head -c 4 /dev/zero | wc -c; "
                             "touch /tmp/a /dev/shm/b /run/c; stat -c %a /tmp; touch /sys/x; find /dev -type b")
        self.assertEqual(result.stdout.decode().split(),
                         ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
                          "urandom", "zero", "4", "1777"])
        self.assertIn(b"Read-only", result.stderr)
        self.assertEqual((await c.run("tty", pty=True)).stdout, b"/dev/pts/0\r\n")


if __name__ == "__main__":
    unittest.main()
