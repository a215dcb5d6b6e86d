"""What kage is compared with: stock QEMU with next to nothing in the guest, and a container."""

import glob
import json
import os
import shutil
import socket
import subprocess
import time

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox echo READY
while read line; do /bin/busybox echo "GOT $line"; [ "$line" = bye ] && /bin/busybox reboot -f; done </dev/ttyS0
"""
# What one gives a kernel by hand.
PLAIN_WORDS = "console=ttyS0 panic=-1 reboot=t no_timer_check tsc=reliable quiet"


class Unfit(Exception):
    """Something to compare with is not there; the text says what."""


class Plan:
    """kage's own plan: the machine it makes, and the kernel and initramfs of the image."""

    def __init__(self, text):
        args = [a["arg"].replace("%%", "%") for a in json.loads(text)["args"]]
        self.args = args
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        images = glob.glob(os.path.join(cache, "kage/images/tiny-*"))
        if not images:
            raise Unfit("no image `tiny` in the store")
        self.image = max(images, key=os.path.getmtime)
        self.kernel, self.initrd = (os.path.join(self.image, name) for name in ("kernel", "initrd"))

    def value(self, option):
        return self.args[self.args.index(option) + 1] if option in self.args else None

    def machine(self, memory_object=None):
        """The options that shape kage's machine, without its devices."""
        argv = ["-accel", self.value("-accel"), "-cpu", self.value("-cpu"), "-m", self.value("-m"), "-machine",
                self.value("-machine") + (f",memory-backend={memory_object}" if memory_object else "")]
        return argv + (["-bios", self.value("-bios")] if self.value("-bios") else [])


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Unfit(f"{program} is not installed")


def pack(folder, files):
    """An initramfs of files: {path: (content, mode)}."""
    root = os.path.join(folder, "root")
    for path, (content, mode) in files.items():
        target = os.path.join(root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(content)
        os.chmod(target, mode)
    for sub in ("proc", "dev"):
        os.makedirs(os.path.join(root, sub), exist_ok=True)
    return subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=root, check=True, capture_output=True).stdout


def connect(path):
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            time.sleep(0.001)


def expect(sock, word):
    got = b""
    while word not in got:
        chunk = sock.recv(4096)
        if not chunk:
            raise RuntimeError("the bare guest is gone: " + got.decode(errors="replace")[-300:])
        got += chunk


class Qmp:
    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            reply = json.loads(self.file.readline())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])


class Bare:
    """Cold: QEMU starts, a busybox on the serial port says READY, gone. Warm: the same from a saved
    state, answering one line. `options` and `words` are the machine and the kernel's command line."""

    def __init__(self, folder, kernel, options, words, memory_mib):
        need("qemu-system-x86_64", "cpio")
        if not os.path.exists("/bin/busybox"):
            raise Unfit("/bin/busybox is not installed (the package busybox-static)")
        os.makedirs(folder)
        self.folder, self.kernel, self.options, self.words = folder, kernel, options, words
        self.memory = f"{memory_mib}M"
        with open("/bin/busybox", "rb") as f:
            busybox = f.read()
        with open(self.path("initrd"), "wb") as f:
            f.write(pack(folder, {"bin/busybox": (busybox, 0o755), "init": (INIT.encode(), 0o755)}))
        self.saved = False

    @classmethod
    def like_kage(cls, folder, plan):
        return cls(folder, plan.kernel, plan.machine("m"), plan.value("-append"), int(plan.value("-m").rstrip("M")))

    @classmethod
    def by_hand(cls, folder, plan, board):
        options = ["-accel", plan.value("-accel"), "-machine", f"{board},memory-backend=m", "-m", "256"]
        return cls(folder, plan.kernel, options, PLAIN_WORDS, 256)

    def path(self, name):
        return os.path.join(self.folder, name)

    def qemu(self, share, *extra):
        for name in ("serial", "qmp"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        return subprocess.Popen(
            ["qemu-system-x86_64", *self.options, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", self.kernel, "-initrd", self.path("initrd"), "-append", self.words,
             "-object", f"memory-backend-file,id=m,size={self.memory},mem-path={self.path('ram')},share={share}",
             "-chardev", f"socket,id=s,path={self.path('serial')},server=on,wait=off", "-serial", "chardev:s",
             "-qmp", f"unix:{self.path('qmp')},server=on,wait=off", *extra])

    def cold(self):
        if os.path.exists(self.path("ram")):
            os.unlink(self.path("ram"))
        self.saved = False
        process = self.qemu("off")
        serial = connect(self.path("serial"))
        expect(serial, b"READY")
        serial.sendall(b"bye\n")
        process.wait()

    def save(self):
        process = self.qemu("on")
        serial = connect(self.path("serial"))
        expect(serial, b"READY")
        time.sleep(0.3)  # until the shell waits for a line
        qmp = Qmp(self.path("qmp"))
        qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        qmp("migrate", uri=f"exec:cat > {self.path('state')}")
        while qmp("query-migrate").get("status") not in ("completed", "failed"):
            time.sleep(0.005)
        process.kill()
        process.wait()
        self.saved = True

    def warm(self):
        """Returns the seconds until the answer; the caller's clock has those until QEMU is gone."""
        if not self.saved:
            self.save()
        start = time.monotonic()
        process = self.qemu("off", "-incoming", "defer")
        serial, qmp = connect(self.path("serial")), Qmp(self.path("qmp"))
        qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        qmp("migrate-incoming", uri=f"exec:cat {self.path('state')}")
        while qmp("query-status")["status"] == "inmigrate":
            pass
        serial.sendall(b"hello\n")
        expect(serial, b"GOT hello")
        answered = time.monotonic() - start
        serial.sendall(b"bye\n")
        process.wait()
        return answered


class Wire:
    """kage's machine and kernel with the network that a machine that stays has, but wire.c in place of vmd."""

    def __init__(self, folder, plan):
        need("qemu-system-x86_64", "cpio", "cc")
        os.makedirs(folder)
        program = os.path.join(folder, "wire")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wire.c")
        if subprocess.run(["cc", "-O2", "-static", "-D_GNU_SOURCE", "-o", program, source], capture_output=True, check=False).returncode:
            raise Unfit("cc cannot link a static program")
        initrd = os.path.join(folder, "initrd")
        with open(initrd, "wb") as out, open(plan.initrd, "rb") as base, open(program, "rb") as f:
            image = base.read()
            out.write(image + bytes(-len(image) % 512) + pack(folder, {"wire": (f.read(), 0o755)}))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        netdev = f"user,id=n,net=10.0.2.0/24,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:8080"
        nic = "virtio-net-pci,netdev=n,romfile=,disable-legacy=on"
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", *plan.machine(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", plan.kernel, "-initrd", initrd, "-append", plan.value("-append") + " rdinit=/wire",
             "-serial", "stdio", "-netdev", netdev, "-device", nic],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        while b"READY" not in (line := self.process.stdout.readline()):
            if not line:
                raise RuntimeError("the bare guest is gone before it was ready")
        self.buffer = bytearray(64 * 1024)

    def out(self, size):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"S%d\n" % size)
            while size > 0:
                n = s.recv_into(self.buffer)
                if not n:
                    raise RuntimeError("the bare guest hung up")
                size -= n

    def into(self, size):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"R%d\n" % size)
            while size > 0:
                n = min(size, len(self.buffer))
                s.sendall(memoryview(self.buffer)[:n])
                size -= n
            s.recv(1)

    def close(self):
        self.process.kill()
        self.process.wait()


class Podman:
    """`podman run` of a busybox image that is made here, in a store of its own."""

    def __init__(self, folder):
        need("podman")
        if not os.path.exists("/bin/busybox"):
            raise Unfit("/bin/busybox is not installed (the package busybox-static)")
        os.makedirs(os.path.join(folder, "image/bin"))
        self.base = ["podman", "--root", os.path.join(folder, "store"), "--runroot", os.path.join(folder, "run"),
                     "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        if shutil.which("runc"):
            self.base += ["--runtime", "runc"]
        shutil.copy("/bin/busybox", os.path.join(folder, "image/bin/busybox"))
        os.symlink("busybox", os.path.join(folder, "image/bin/echo"))
        tar = subprocess.run(["tar", "-c", "-C", os.path.join(folder, "image"), "."], capture_output=True, check=True).stdout
        self.call("import", "-", "kage-bench", input=tar)
        self.run()

    def call(self, *args, **kwargs):
        done = subprocess.run([*self.base, *args], capture_output=True, check=False, **kwargs)
        if done.returncode:
            raise Unfit("podman does not run here: " + done.stderr.decode(errors="replace").strip().split("\n")[-1])

    def run(self):
        # The limits are podman's defaults where it may set them; in a container it may not raise its own.
        self.call("run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
                  "localhost/kage-bench", "/bin/echo", "hello")
