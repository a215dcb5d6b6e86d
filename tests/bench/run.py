#!/usr/bin/env python3
"""How kage compares with what else is on this machine: ratios taken side by side in one run.

usage: run.py [--kage FILE] [--runs N] [--json FILE] [--svg FILE]

Every pair is measured in turns (a, b, a, b, …), so that a machine that gets slower or faster in
between does not favour either; what is printed is the median and, for a pair, the median of the
ratios. Nothing here fails a build: a tool that is missing is left out, and said so.
"""

import argparse
import glob
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HELLO = """version: 1
image: tiny
commands:
  - exec: [echo, hello]
"""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox echo READY
while read line; do /bin/busybox echo "GOT $line"; [ "$line" = bye ] && /bin/busybox reboot -f; done </dev/ttyS0
"""


def timed(function):
    start = time.monotonic()
    function()
    return time.monotonic() - start


def run(*argv, **kwargs):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kwargs)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} exited {done.returncode}: {done.stderr[-500:].decode(errors='replace')}")
    return done.stdout


# ---- raw QEMU: the same kernel, a busybox on the serial port, no kage ----


class RawQemu:
    """Cold: start, READY, gone. Warm: from a saved state, one line answered, gone."""

    def __init__(self, folder, kernel, plan):
        self.folder, self.kernel = folder, kernel
        self.args = plan["args"]
        self.initrd = self.pack()
        self.path = lambda name: os.path.join(folder, name)

    def pack(self):
        root = os.path.join(self.folder, "root")
        for sub in ("bin", "proc", "dev"):
            os.makedirs(os.path.join(root, sub))
        shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
        with open(os.path.join(root, "init"), "w") as f:
            f.write(INIT)
        os.chmod(os.path.join(root, "init"), 0o755)
        out = os.path.join(self.folder, "initrd")
        subprocess.run(f"find . | cpio -o -H newc --quiet > {out}", shell=True, cwd=root, check=True)
        return out

    def value(self, option):
        """The value of an option in kage's own plan: the same machine, the same kernel options."""
        for i, arg in enumerate(self.args):
            if arg["arg"] == option:
                return self.args[i + 1]["arg"].replace("%%", "%")
        return None

    def qemu(self, share, *extra):
        for name in ("serial", "qmp"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        argv = ["qemu-system-x86_64", "-accel", self.value("-accel"), "-M", self.value("-machine") + ",memory-backend=m",
                "-cpu", self.value("-cpu"), "-m", "512", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-kernel", self.kernel, "-initrd", self.initrd, "-append", self.value("-append"),
                "-object", f"memory-backend-file,id=m,size=512M,mem-path={self.path('ram')},share={share}",
                "-chardev", f"socket,id=s,path={self.path('serial')},server=on,wait=off", "-serial", "chardev:s",
                "-qmp", f"unix:{self.path('qmp')},server=on,wait=off", *extra]
        if self.value("-bios"):
            argv += ["-bios", self.value("-bios")]
        return subprocess.Popen(argv)

    def connect(self, name):
        while True:
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(self.path(name))
                return s
            except OSError:
                s.close()
                time.sleep(0.001)

    @staticmethod
    def expect(sock, word):
        got = b""
        while word not in got:
            chunk = sock.recv(4096)
            if not chunk:
                raise RuntimeError("the raw guest is gone: " + got.decode(errors="replace")[-300:])
            got += chunk

    def qmp(self):
        f = self.connect("qmp").makefile("rw")
        f.readline()

        def call(command, **arguments):
            f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            f.flush()
            while True:
                reply = json.loads(f.readline())
                if "return" in reply:
                    return reply["return"]
                if "error" in reply:
                    raise RuntimeError(reply["error"]["desc"])

        call("qmp_capabilities")
        return call

    def cold(self):
        if os.path.exists(self.path("ram")):
            os.unlink(self.path("ram"))
        process = self.qemu("off")
        serial = self.connect("serial")
        self.expect(serial, b"READY")
        serial.sendall(b"bye\n")
        process.wait()

    def save(self):
        process = self.qemu("on")
        serial = self.connect("serial")
        self.expect(serial, b"READY")
        time.sleep(0.3)
        qmp = self.qmp()
        qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        qmp("migrate", uri=f"exec:cat > {self.path('state')}")
        while qmp("query-migrate").get("status") not in ("completed", "failed"):
            time.sleep(0.005)
        process.kill()
        process.wait()

    def warm(self):
        process = self.qemu("off", "-incoming", "defer")
        serial, qmp = self.connect("serial"), self.qmp()
        qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        qmp("migrate-incoming", uri=f"exec:cat {self.path('state')}")
        while qmp("query-status")["status"] == "inmigrate":
            pass
        serial.sendall(b"hello\n")
        self.expect(serial, b"GOT hello")
        serial.sendall(b"bye\n")
        process.wait()


# ---- the table ----


def pair(name, kage, other, runs, rows, bar=None):
    kage(), other()  # once each, so that both find their caches full
    a, b = [], []
    for _ in range(runs):
        a.append(timed(kage))
        b.append(timed(other))
    ratio = statistics.median(x / y for x, y in zip(a, b))
    rows.append({"what": name, "kage_s": round(statistics.median(a), 3), "other_s": round(statistics.median(b), 3),
                 "ratio": round(ratio, 2), "bar": bar, "runs": runs})
    print(f"{name:52} {statistics.median(a):8.3f} s {statistics.median(b):8.3f} s   {ratio:5.2f}x"
          + (f"   (bar {bar:.1f}x)" if bar else ""), flush=True)


def podman():
    """A hello in a container of busybox, as an argument list; None when podman does not run here."""
    if not shutil.which("podman") or not os.path.exists("/bin/busybox"):
        return None
    base = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"] if shutil.which("runc") else ["podman"]
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(os.path.join(d, "bin"))
        shutil.copy("/bin/busybox", os.path.join(d, "bin/busybox"))
        os.symlink("busybox", os.path.join(d, "bin/echo"))
        tar = subprocess.run(["tar", "-c", "-C", d, "."], capture_output=True, check=True).stdout
        if subprocess.run([*base, "import", "-", "kage-bench"], input=tar, capture_output=True, check=False).returncode:
            return None
    argv = [*base, "run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
            "localhost/kage-bench", "/bin/echo", "hello"]
    return argv if subprocess.run(argv, capture_output=True, check=False).returncode == 0 else None


def svg(rows, path):
    bars = [(r["what"], r["ratio"]) for r in rows]
    top = max([v for _, v in bars] + [1.0])
    height = 40 + 44 * len(bars)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>']
    scale = 420 / top
    for i, (name, value) in enumerate(bars):
        y = 24 + 44 * i
        out.append(f'<text x="12" y="{y + 4}" fill="#333">{name}</text>')
        out.append(f'<rect x="12" y="{y + 10}" width="{value * scale:.1f}" height="14" fill="#3b6ea5"/>')
        out.append(f'<text x="{20 + value * scale:.1f}" y="{y + 22}" fill="#333">{value:.2f}x</text>')
    out.append(f'<line x1="{12 + scale:.1f}" y1="14" x2="{12 + scale:.1f}" y2="{height - 14}" stroke="#c33" stroke-dasharray="4"/>')
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kage", default=os.path.join(os.path.dirname(__file__), "../../build/bin/kage"))
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    kage, rows = os.path.abspath(options.kage), []

    with tempfile.TemporaryDirectory(prefix="kage-bench-") as folder:
        spec = os.path.join(folder, "hello.yaml")
        with open(spec, "w") as f:
            f.write(HELLO)
        run(kage, "apply", spec)
        plan = json.loads(run(kage, "plan", "--format=json", spec))
        kernels = sorted(glob.glob(os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                                                "kage/images/tiny-*/kernel")), key=os.path.getmtime)
        print(f"{'what':52} {'kage':>10} {'other':>10}   ratio")

        def warm():
            run(kage, "apply", spec)

        def cold():
            run(kage, "apply", "--cold", spec)

        if os.path.exists("/bin/busybox") and shutil.which("cpio") and kernels:
            raw = RawQemu(folder, kernels[-1], plan)
            raw.save()
            pair("warm apply / bare restore of a saved QEMU", warm, raw.warm, options.runs, rows, 1.5)
            pair("cold apply / raw QEMU, same kernel and machine", cold, raw.cold, options.runs, rows, 1.3)
        else:
            print("left out: raw QEMU (needs /bin/busybox, cpio and an image of kage's)")
        container = podman()
        if container:
            pair("warm apply / podman run", warm, lambda: run(*container), options.runs, rows, 1.0)
        else:
            print("left out: podman (not installed, or it cannot run a container here)")
        pair("warm apply / cold apply", warm, cold, options.runs, rows)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": {"cpus": os.cpu_count(), "accelerator": plan.get("accel")}, "rows": rows}, f, indent=2)
    if options.svg:
        svg(rows, options.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
