"""Commands in a machine that stays: exec, shell, cp and install.

One machine serves all tests. What takes long is scaled by the environment:
KAGE_TEST_EXECS (commands in a row), KAGE_TEST_STREAM_MIB (bytes through a
command, both ways) and KAGE_TEST_WRITES (one-byte writes).
"""

import fcntl
import hashlib
import io
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tarfile
import tempfile
import termios
import threading
import time
import unittest

from kage_e2e import KAGE, SANITIZED, SLOW, Kage, peak_kib, qemu_children, wait_until

EXECS = int(os.environ.get("KAGE_TEST_EXECS", "256"))
STREAM_MIB = int(os.environ.get("KAGE_TEST_STREAM_MIB", "48"))
WRITES = int(os.environ.get("KAGE_TEST_WRITES", "10000"))
MIB = 1024 * 1024


def setUpModule():
    global RUN, ENV
    RUN = tempfile.mkdtemp(prefix="kage-e2e-run-")
    ENV = {**os.environ, "XDG_RUNTIME_DIR": RUN}
    subprocess.run([KAGE, "start", "-q", "--name", "box", "tiny"], env=ENV, check=True, stdout=subprocess.DEVNULL)


def tearDownModule():
    subprocess.run([KAGE, "stop", "--all"], env=ENV, check=False, capture_output=True)
    shutil.rmtree(RUN, ignore_errors=True)


class Exec(Kage):
    def run_kage(self, *args, **kwargs):
        kwargs.setdefault("env", ENV)
        data = kwargs.pop("input", None)
        if data is not None:
            kwargs["stdin"] = subprocess.PIPE
        p = self.start(*args, **kwargs)
        p.out, p.err = p.communicate(data, timeout=240 * SLOW)
        return p

    def run_in(self, *command, options=(), **kwargs):
        return self.run_kage("exec", *options, "box", "--", *command, **kwargs)

    def sh(self, script, **kwargs):
        return self.run_in("sh", "-c", script, **kwargs)

    def out(self, script):
        p = self.sh(script)
        self.assert_code(p, 0)
        return p.out.decode()

    def started(self, script, *options, **kwargs):
        """A command in the background that has said "up"."""
        p = self.start("exec", *options, "box", "--", "sh", "-c", script, env=ENV, **kwargs)
        self.assertEqual(p.stdout.readline().strip(), b"up")
        return p


class Streams(Exec):
    def test_apart_and_exact(self):
        data = bytes(range(256)) * 100
        p = self.sh("cat; printf 'err\\0\\377' >&2; exit 3", input=data)
        self.assert_code(p, 3)
        self.assertEqual((p.out, p.err), (data, b"err\0\377"))

    def test_every_kind_of_input(self):
        path = self.write("file", "of a file")
        with open(path) as f:
            self.assertEqual(self.run_in("cat", stdin=f).out, b"of a file")
        self.assertEqual(self.run_in("cat", stdin=subprocess.DEVNULL).out, b"")
        self.assertEqual(self.run_in("cat", input=b"pipe").out, b"pipe")
        ours, theirs = socket.socketpair()
        ours.sendall(b"socket")
        ours.close()
        self.assertEqual(self.run_in("cat", stdin=theirs).out, b"socket")
        theirs.close()
        closed = subprocess.run(f'exec "{KAGE}" exec box -- cat <&-', shell=True, env=ENV, capture_output=True, check=False)
        self.assertEqual((closed.returncode, closed.stdout, closed.stderr), (0, b"", b""))
        with open("/dev/zero", "rb") as zero:
            self.assertEqual(self.run_in("head", "-c", "300000", stdin=zero).out, bytes(300000))
        folder = os.open(self.dir, os.O_RDONLY)
        p = self.run_in("cat", stdin=folder)
        os.close(folder)
        self.assert_code(p, 125)
        self.assertIn(b"cannot read standard input: Is a directory", p.err)

    def test_input_is_left_alone(self):
        with open(self.write("file", "kept")) as f:
            self.assertEqual(self.run_in("cat", options=["-n"], stdin=f).out, b"")
            self.assertEqual(f.read(), "kept")

    def test_input_after_the_command_stopped_reading(self):
        for script in ("exit 4", "exec <&-; sleep 0.3; exit 4", "head -c 1 >/dev/null; exit 4"):
            with open("/dev/zero", "rb") as zero:
                p = self.sh(script, stdin=zero)
            self.assert_code(p, 4)
            self.assertEqual(p.err, b"")

    def test_many_bytes_both_ways(self):
        """Through `cat`, with a reader that sleeps first: equal sums, and memory is bounded."""
        p = self.start("exec", "box", "--", "cat", env=ENV, stdin=subprocess.PIPE)
        sent, got, n = hashlib.sha256(), hashlib.sha256(), 0
        block = os.urandom(MIB)

        def feed():
            for i in range(STREAM_MIB):
                data = struct.pack("<Q", i) + block[8:]
                sent.update(data)
                p.stdin.write(data)
            p.stdin.close()

        before = self.available()
        feeder = threading.Thread(target=feed)
        feeder.start()
        time.sleep(3)
        self.assertLess(before - self.available(), 16 * MIB)
        while data := p.stdout.read(MIB):
            got.update(data)
            n += len(data)
            peak = peak_kib(p.pid) if n < STREAM_MIB * MIB else peak
        feeder.join()
        p.stdin = None
        self.assertEqual(p.wait(), 0)
        self.assertEqual((n, got.hexdigest()), (STREAM_MIB * MIB, sent.hexdigest()))
        self.assertLess(peak, (400 if SANITIZED else 32) * 1024)

    def available(self):
        return int(re.search(r"MemAvailable:\s+(\d+)", self.out("cat /proc/meminfo"))[1]) * 1024

    def test_output_nobody_reads(self):
        """The command stands still; others go on; then every byte is there."""
        p = self.start("exec", "box", "--", "sh", "-c", "head -c 20000000 /dev/zero; echo end", env=ENV)
        time.sleep(2)
        self.assertEqual(self.out("echo other"), "other\n")
        self.assertEqual(p.stdout.read(), bytes(20000000) + b"end\n")
        self.assertEqual(p.wait(), 0)

    def test_small_writes_keep_their_order(self):
        p = self.sh(f"i=0; while [ $i -lt {WRITES} ]; do printf $((i % 10)); i=$((i + 1)); done")
        self.assertEqual(p.out.decode(), "".join(str(i % 10) for i in range(WRITES)))

    def test_reader_that_leaves(self):
        for script in ("yes", "trap '' PIPE; while :; do echo y; done"):
            p = self.start("exec", "box", "--", "sh", "-c", script, env=ENV)
            self.assertEqual(p.stdout.readline(), b"y\n")
            p.stdout.close()
            self.assertEqual(p.wait(timeout=20 * SLOW), 141)
            p.stdout = None
        with open("/dev/full", "wb") as full:
            p = self.sh("echo x", stdout=full)
        self.assert_code_only(p, 125)

    def assert_code_only(self, p, code):
        self.assertEqual(p.returncode, code, p.err)


class Codes(Exec):
    def test_many_commands(self):
        """Every exit code, and nothing piles up in the guest."""
        for i in range(16):
            self.sh(f"exit {i}")
        before = self.guest_use()
        for i in range(EXECS):
            self.assertEqual(self.run_in("sh", "-c", f"exit {i % 256}", options=["-n"]).returncode, i % 256)
        files, memory = (after - b for after, b in zip(self.guest_use(), before))
        # Open files of the whole guest, and memory in KiB; some caches fill.
        self.assertLess(files, 20)
        self.assertLess(memory, 6 * 1024)

    def guest_use(self):
        files, free = self.out("cat /proc/sys/fs/file-nr; grep MemAvail /proc/meminfo").split("\n")[:2]
        return int(files.split()[0]), -int(free.split()[1])

    def test_every_signal(self):
        stops_or_ignored = {3, 17, 18, 19, 20, 21, 22, 23, 28}  # QUIT: only by busybox's shell
        for n in sorted(set(range(1, 65)) - stops_or_ignored):
            p = self.sh(f"kill -{n} $$; sleep 5", options=["-n"])
            self.assertEqual(p.returncode, 128 + n, f"signal {n}: {p.err}")

    def test_cannot_start(self):
        for command, code, why in (
            ("no-such-program", 127, "No such file"),
            ("/etc/passwd", 126, "Permission denied"),
            ("/tmp", 126, "Permission denied"),
        ):
            p = self.run_in(command)
            self.assert_code(p, code)
            self.assertIn(why, p.err.decode())

    def test_no_verdict(self):
        p = self.run_in("true", options=["--user", "nobody-here"])
        self.assert_code(p, 125)
        self.assertIn(b"no user 'nobody-here'", p.err)
        p = self.run_kage("exec", "no-such-machine", "--", "true")
        self.assert_code(p, 125)
        for wrong in ([], ["box"], ["--env", "x", "box", "true"], ["--timeout", "x", "box", "true"], ["--bad", "box", "true"],
                      ["--raw", "--profile", "strict", "box", "true"]):
            self.assert_code(self.run_kage("exec", *wrong), 125)

    def test_timeout(self):
        p = self.run_in("sleep", "100", options=["--timeout", "300ms"])
        self.assert_code(p, 124)
        self.assertIn(b"timeout of 300ms", p.err)

    def test_out_of_memory(self):
        p = self.sh("head -c 2000000000 /dev/zero | tail -c 1500000000 >/dev/null; exit 1")
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.out("echo alive"), "alive\n")


class Options(Exec):
    def test_options(self):
        p = self.run_in("sh", "-c", "echo $A-$B; pwd; id -un", options=["-e", "A=1", "--env", "B=x=y", "-w", "/usr", "-u", "nobody"])
        self.assertEqual(p.out, b"1-x=y\n/usr\nnobody\n")

    def test_options_after_the_machine(self):
        p = self.run_kage("exec", "box", "--raw", "-n", "--", "sh", "-c", "echo $0 $@", "a", "--raw", "-t")
        self.assertEqual(p.out, b"a --raw -t\n")
        self.assertEqual(self.run_kage("exec", "box", "echo", "-n", "x").out, b"x")

    def test_raw_is_root_with_everything(self):
        caps = "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status"
        raw = self.sh(caps, options=["--raw"]).out.decode().split()
        default = self.sh(caps).out.decode().split()
        self.assertEqual((raw[3], default[3]), ("0", "2"))
        self.assertNotEqual(raw[1], default[1])

    def test_seed_command_line(self):
        """vmctl's form, with the port as the handle and the option after it."""
        vmctl = os.path.join(os.path.dirname(KAGE), "vmctl")
        port = subprocess.run([KAGE, "ps", "--format", "json"], env=ENV, capture_output=True, check=True).stdout
        port = re.search(rb'"port":\s*(\d+)', port)[1].decode()
        for args, out in ((["--", "echo", "Hello from VM"], b"Hello from VM\n"), (["--raw", "--", "id", "-u"], b"0\n")):
            p = subprocess.run([vmctl, "exec", port, *args], env=ENV, capture_output=True, check=False, stdin=subprocess.DEVNULL)
            self.assertEqual((p.returncode, p.stdout), (0, out), p.stderr)


class Signals(Exec):
    def test_passed_on(self):
        for name in ("INT", "TERM", "HUP", "QUIT"):
            p = self.started(f"trap 'echo got; exit 9' {name}; echo up; while :; do sleep 0.05; done")
            p.send_signal(getattr(signal, "SIG" + name))
            self.assertEqual((p.wait(timeout=20 * SLOW), p.stdout.read()), (9, b"got\n"))
            # Not by way of busybox's shell, which ignores QUIT and passes that on.
            p = self.start("exec", "box", "--", "tail", "-f", "/etc/hostname", "/etc/hosts", env=ENV)
            p.stdout.readline()
            p.send_signal(getattr(signal, "SIG" + name))
            self.assertEqual(p.wait(timeout=20 * SLOW), 128 + getattr(signal, "SIG" + name))

    def test_second_interrupt(self):
        p = self.started("trap '' INT; echo up; sleep 100 & wait; sleep 100")
        p.send_signal(signal.SIGINT)
        time.sleep(0.3)
        self.assertIsNone(p.poll())
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(timeout=5 * SLOW), 130)

    def test_third_interrupt(self):
        p = self.started("trap '' INT; echo up; while :; do echo x; done")
        p.stdout.readline()
        feeder = threading.Thread(target=p.stdout.read)
        feeder.start()
        for _ in range(3):
            p.send_signal(signal.SIGINT)
            time.sleep(0.2)
        self.assertEqual(p.wait(timeout=5 * SLOW), 130)
        feeder.join()

    def test_killed_kage_ends_the_command(self):
        mark = "/tmp/still-running"
        p = self.started(f"echo up; while :; do date +%s%N > {mark}; sleep 0.05; done")
        time.sleep(0.5)
        p.kill()
        p.wait()
        time.sleep(1)
        self.assertEqual(self.out(f"cat {mark}; sleep 0.5"), self.out(f"cat {mark}"))

    def test_ignored_stays_ignored(self):
        p = subprocess.Popen(["nohup", KAGE, "exec", "box", "--", "sh", "-c", "echo up; sleep 1; echo end"], env=ENV,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertEqual(p.stdout.readline(), b"up\n")
        p.send_signal(signal.SIGHUP)
        self.assertEqual(p.communicate()[0], b"end\n")
        self.assertEqual(p.returncode, 0)


class Terminal(Exec):
    """kage on a real pseudo terminal."""

    def open(self, *args, rows=33, cols=101):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        before = termios.tcgetattr(slave)
        p = subprocess.Popen([KAGE, *args], env={**ENV, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        self.addCleanup(lambda: (p.kill(), p.wait()))
        p.master, p.slave, p.before, p.seen = master, slave, before, b""
        return p

    def expect(self, p, text):
        def seen():
            if select.select([p.master], [], [], 0.1)[0]:
                p.seen += os.read(p.master, 65536)
            return text in p.seen

        self.assertTrue(wait_until(seen, 20), f"{text!r} is not in {p.seen!r}")
        p.seen = p.seen[p.seen.index(text) + len(text):]

    def type(self, p, text):
        os.write(p.master, text)

    def end(self, p, code):
        def ended():
            if select.select([p.master], [], [], 0)[0]:
                p.seen += os.read(p.master, 65536)
            return p.poll() is not None

        self.assertTrue(wait_until(ended, 20), p.seen)
        self.assertEqual(p.returncode, code, p.seen)
        self.assertEqual(termios.tcgetattr(p.slave), p.before, "the terminal was not put back")

    def test_shell(self):
        p = self.open("shell", "box")
        self.expect(p, b"# ")
        self.type(p, b"stty size; echo $TERM $LANG; id -un; pwd; tty\r")
        self.expect(p, b"33 101\r\nxterm C.UTF-8\r\nroot\r\n/root\r\n/dev/pts/")
        self.type(p, "echo 'grüße'\r".encode())
        self.expect(p, "\r\ngrüße\r\n".encode())
        fcntl.ioctl(p.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        p.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        self.type(p, b"stty size\r")
        self.expect(p, b"50 132")
        self.type(p, b"sleep 100\r")
        time.sleep(0.5)
        self.type(p, b"\x03")
        self.type(p, b"echo code $?\r")
        self.expect(p, b"code 130\r\n")
        self.type(p, b"sleep 100\r")
        time.sleep(0.5)
        self.type(p, b"\x1a")
        self.expect(p, b"Stopped")
        self.type(p, b"kill %1; exit 7\r")
        self.type(p, b"exit 7\r")
        self.end(p, 7)

    def test_end_by_key(self):
        p = self.open("shell", "box")
        self.expect(p, b"# ")
        self.type(p, b"\x04")
        self.end(p, 0)

    def test_full_screen_program(self):
        p = self.open("shell", "-u", "nobody", "--raw", "box")
        self.end(p, 1)  # its shell is /bin/false
        p = self.open("exec", "-t", "box", "--", "vi", "/tmp/by-vi")
        self.expect(p, b"~")
        self.type(p, "iünïcode →\x1b".encode())
        time.sleep(0.3)
        self.type(p, b":wq\r")
        self.end(p, 0)
        self.assertEqual(self.out("cat /tmp/by-vi"), "ünïcode →\n")

    def test_put_back_when_ended(self):
        for signo, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGSEGV, -11)):
            if SANITIZED and signo == signal.SIGSEGV:
                continue  # the sanitizer's
            p = self.open("exec", "-t", "box", "--", "sh", "-c", "echo up; exec sleep 100")
            self.expect(p, b"up")
            self.assertNotEqual(termios.tcgetattr(p.slave), p.before)
            p.send_signal(signo)
            self.end(p, code)

    def test_terminal_hangs_up(self):
        p = self.open("exec", "-t", "box", "--", "sh", "-c", "trap '' HUP; echo up; sleep 100")
        self.expect(p, b"up")
        p.send_signal(signal.SIGHUP)
        self.end(p, 129)

    def test_without_a_terminal_here(self):
        p = self.sh("tty; cat; echo end", options=["-t", "-i"], input=b"line\n")
        self.assert_code(p, 0)
        self.assertRegex(p.out, rb"/dev/pts/\d+\r\n(line\r\n){1,2}end\r\n")


class Copy(Exec):
    def cp(self, *args, code=0, **kwargs):
        p = self.run_kage("cp", *args, **kwargs)
        self.assert_code(p, code)
        return p

    def tree(self, name="src"):
        self.write(f"{name}/a", "hello\n")
        self.write(f"{name}/sub/b", "b")
        self.write(f"{name}/{'n' * 200}", "long")
        os.mkdir(self.path(name, "empty"))
        os.symlink("../nowhere", self.path(name, "link"))
        os.chmod(self.path(name, "a"), 0o751)
        os.chmod(self.path(name, "sub"), 0o750)
        os.utime(self.path(name, "a"), (1, 1577934245))
        return self.path(name)

    def listing(self, folder):
        found = {}
        for root, folders, files in os.walk(folder):
            for n in folders + files:
                path = os.path.join(root, n)
                st = os.lstat(path)
                what, mtime = None, 0
                if stat.S_ISLNK(st.st_mode):
                    what = os.readlink(path)
                elif stat.S_ISREG(st.st_mode):
                    mtime = int(st.st_mtime)
                    with open(path, "rb") as f:
                        what = f.read()
                found[os.path.relpath(path, folder)] = (stat.filemode(st.st_mode), what, mtime)
        return found

    def test_there_and_back(self):
        source = self.tree()
        self.cp(source, "box:/tmp/there")
        self.cp("box:/tmp/there", self.path("back"))
        self.assertEqual(self.listing(source), self.listing(self.path("back")))

    def test_names(self):
        """As docker cp: into a folder that is there, else under the new name."""
        source = self.tree()
        self.out("mkdir -p /tmp/names")
        self.cp(source, "box:/tmp/names")
        self.cp(source + "/.", "box:/tmp/names")
        self.cp(source + "/a", "box:/tmp/names/other")
        self.cp(source + "/a", "box:tmp/names/")
        names = set(self.out("cd /tmp/names; find . -maxdepth 2").split())
        self.assertLessEqual({"./src", "./src/a", "./a", "./sub", "./other"}, names)
        self.cp(source + "/a", "box:/tmp/none/", code=1)
        self.cp(source + "/a", "box:/none/none", code=1)
        self.cp("box:/tmp/names/a", self.path("none/"), code=1)
        self.cp("box:/tmp/none", self.dir, code=1)
        os.mkdir(self.path("out"))
        self.cp("box:/tmp/names/a", "box:/tmp/names/sub", self.path("out"))
        self.cp("box:/tmp/names/sub/.", self.path("out"))
        self.assertEqual(set(os.listdir(self.path("out"))), {"a", "sub", "b"})
        self.write("with:colon", "x")
        self.cp("./with:colon", "box:/tmp/names/colon")
        self.cp("-L", self.path("src"), "box:/tmp/followed", code=1)  # a link to nowhere
        self.cp(source, source, code=125)
        self.cp("box:/tmp", "box:/tmp", code=125)

    def test_as_a_stream(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self.tree(), "streamed")
        self.cp("-", "box:/tmp", input=archive.getvalue())
        p = self.cp("box:/tmp/streamed", "-")
        with tarfile.open(fileobj=io.BytesIO(p.out)) as tar:
            self.assertIn("streamed/a", [os.path.normpath(n) for n in tar.getnames()])

    def test_as_a_user(self):
        self.cp("-u", "nobody", self.tree() + "/a", "box:/tmp/of-nobody")
        self.assertEqual(self.out("stat -c %U:%a /tmp/of-nobody"), "nobody:751\n")
        self.out("umask 077; echo secret > /tmp/secret")
        self.cp("-u", "nobody", "box:/tmp/secret", self.dir, code=1)

    def test_what_is_left_out(self):
        self.out("mkdir -p /tmp/odd; cd /tmp/odd; mkfifo fifo; echo x > set; chmod 7777 set; ln set hard; ln -s /etc/passwd link")
        p = self.cp("box:/tmp/odd", self.path("odd"))
        self.assertIn(b"1 left out", p.err)
        modes = {n: v[:2] for n, v in self.listing(self.path("odd")).items()}
        self.assertEqual(modes, {"set": ("-rwxrwxrwx", b"x\n"), "hard": ("-rwxrwxrwx", b"x\n"), "link": ("lrwxrwxrwx", "/etc/passwd")})
        self.assertEqual(os.stat(self.path("odd/set")).st_nlink, 1)

    def test_limit(self):
        p = self.cp("--max-size", "1MiB", "box:/usr/bin", self.path("limited"), code=1)
        self.assertIn(b"--max-size", p.err)
        self.cp("--max-size", "100KiB", "box:/usr/bin/busybox", "-", code=125)

    def test_a_link_in_the_way(self):
        self.out("mkdir -p /tmp/way/sub; echo evil > /tmp/way/sub/file")
        os.makedirs(self.path("way"))
        os.makedirs(self.path("outside"))
        os.symlink(self.path("outside"), self.path("way/sub"))
        self.cp("box:/tmp/way/.", self.path("way"), code=1)
        self.assertEqual(os.listdir(self.path("outside")), [])

    def test_install(self):
        big = self.path("program")
        with open(big, "wb") as f:
            f.write(os.urandom(20 * MIB))
        self.assert_code(self.run_kage("install", "box", big, "--name", "big"), 0)
        with open(big, "rb") as f:
            self.assertEqual(self.out("sha256sum < /usr/local/bin/big").split()[0], hashlib.sha256(f.read()).hexdigest())
        for text in ("one", "two"):
            self.write("hello", f"#!/bin/sh\necho {text}\n")
            self.assert_code(self.run_kage("install", "box", self.path("hello")), 0)
            self.assertEqual(self.run_in("hello").out.decode(), text + "\n")
        self.assertEqual(self.out("ls -A /usr/local/bin; rm /usr/local/bin/big"), "big\nhello\n")
        for wrong in (self.dir, self.path("none")):
            self.assert_code(self.run_kage("install", "box", wrong), 1)
        self.assert_code(self.run_kage("install", "box", self.path("hello"), "--name", "../x"), 125)


class Ends(Exec):
    """The machine goes away while a command runs: 125, and what happened."""

    def machine(self, name):
        """(owner, QEMU) of a new machine."""
        p = self.run_kage("start", "-q", "--name", name, "tiny")
        self.assert_code(p, 0)
        owner = int(re.search(rb'"owner":\s*(\d+)', self.run_kage("ps", "--format", "json").out.split(p.out.strip())[1])[1])
        return owner, qemu_children(owner)[0]

    def lost(self, name, end):
        p = self.start("exec", name, "--", "sh", "-c", "echo up; sleep 100", env=ENV)
        self.assertEqual(p.stdout.readline(), b"up\n")
        end()
        self.assertEqual(p.wait(timeout=20 * SLOW), 125)
        return p.stderr.read().decode()

    def test_ends(self):
        owner, qemu = self.machine("one")
        self.assertRegex(self.lost("one", lambda: os.kill(qemu, signal.SIGKILL)), "machine [0-9a-f]+ ended")
        owner, qemu = self.machine("two")
        self.assertRegex(self.lost("two", lambda: os.kill(owner, signal.SIGKILL)), "machine [0-9a-f]+ is dead")
        self.machine("three")
        self.assertRegex(self.lost("three", lambda: self.run_kage("stop", "three")), "stopped|ended")
        p = self.run_kage("exec", "two", "--", "true")
        self.assert_code(p, 125)
        self.run_kage("gc")


if __name__ == "__main__":
    unittest.main()
