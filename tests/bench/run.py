#!/usr/bin/env python3
"""How kage compares with what else is on this machine: ratios taken side by side in one run.

Nothing here fails a build: what is missing is left out, and said so. docs/performance.md tells what
the rows mean.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import plot
from machines import Bare, Plan, Podman, Unfit, Wire
from measure import Table, drain, run, timed

HELLO = """version: 1
image: tiny
commands:
  - exec: [echo, hello]
"""
OUTPUT = """version: 1
image: tiny
defaults: {{timeout: 1h}}
commands:
  - exec: [dd, if=/dev/zero, bs=64k, count={count}, status=none]
"""
NEW_MACHINE = """version: 1
image: tiny
machine: {{memory: {memory}MiB}}
commands:
  - exec: [echo, hello]
"""
SLEEP = """version: 1
image: tiny
commands:
  - run: echo up; sleep {seconds}
"""
MIB = 1024 * 1024


class Bench:
    def __init__(self, options, folder):
        self.kage = os.path.abspath(options.kage)
        self.runs, self.size = options.runs, options.size * MIB
        self.long_runs = max(3, options.runs // 3)
        self.folder, self.table = folder, Table()
        self.hello = self.spec("hello", HELLO)
        self.apply(self.hello)  # the image and the template are there from here on
        self.plan = Plan(run(self.kage, "plan", "--format=json", self.hello))

    def path(self, name):
        return os.path.join(self.folder, name)

    def spec(self, name, text):
        with open(self.path(f"{name}.yaml"), "w") as f:
            f.write(text)
        return self.path(f"{name}.yaml")

    def apply(self, *args):
        run(self.kage, "apply", *args)

    def start(self, *options):
        return run(self.kage, "start", "-q", *options, "tiny").decode().strip()

    def compare(self, what, make, use):
        """use(make()), with what is made closed behind it; a row that says so when it cannot be made."""
        try:
            other = make()
        except Unfit as why:
            self.table.leave_out(what, why)
            return
        try:
            use(other)
        finally:
            if hasattr(other, "close"):
                other.close()

    # ---- the groups ----

    def starts(self):
        table = self.table
        table.title("start to exit of a hello")

        def warm():
            self.apply(self.hello)

        def cold():
            self.apply("--cold", self.hello)

        def by_hand(bare):
            board = os.path.basename(bare.folder)
            table.times(f"warm apply / bare restore, {board} 256 MiB, to its end", warm, lambda: bare.warm() and None, self.runs, 1.5)
            table.times(f"warm apply / bare restore, {board} 256 MiB, to its answer", warm, bare.warm, self.runs)
            table.times(f"cold apply / bare boot, {board} 256 MiB", cold, bare.cold, self.long_runs)

        def like_kage(bare):
            table.times("warm apply / bare restore, kage's machine, to its end", warm, lambda: bare.warm() and None, self.runs, 1.5)
            table.times("cold apply / raw QEMU, same kernel and machine", cold, bare.cold, self.runs, 1.3)

        self.compare("warm apply / podman run", lambda: Podman(self.path("podman")),
                     lambda podman: table.times("warm apply / podman run --network=none", warm, podman.run, self.runs, 1.0))
        self.compare("bare restore and boot", lambda: Bare.like_kage(self.path("kage"), self.plan), like_kage)
        for board in ("pc", "q35"):
            self.compare(f"bare restore and boot, {board}", lambda: Bare.by_hand(self.path(board), self.plan, board), by_hand)
        table.times("warm apply / cold apply", warm, cold, self.long_runs)
        self.first_runs(cold)

    def templates(self):
        return {line.split()[0] for line in run(self.kage, "template", "ls").decode().splitlines()[1:]}

    def first_runs(self, cold):
        """A machine that was not there before, made anew for each run by its size."""
        before, extra = self.templates(), []
        for i in range(self.long_runs):
            first = timed(lambda: self.apply(self.spec("first", NEW_MACHINE.format(memory=480 + i))))
            extra.append(first - timed(cold))
        for key in self.templates() - before:
            run(self.kage, "template", "rm", key)
        self.table.value("a first run's extra time over a cold one", extra, "s", 0.5)

    def flow(self):
        table, mib = self.table, self.size // MIB
        table.title(f"throughput, {mib} MiB at a time", "kage", "raw TCP")

        def use(wire):
            self.output(wire)
            vm = self.start()
            try:
                self.streams(wire, vm)
            finally:
                run(self.kage, "stop", vm)

        self.compare("throughput / raw TCP", lambda: Wire(self.path("wire"), self.plan), use)

    def output(self, wire):
        spec, peaks = self.spec("output", OUTPUT.format(count=self.size // (64 * 1024))), []

        def kage():
            got, peak = drain([self.kage, "apply", spec])
            peaks.append(peak / MIB)
            assert got == self.size, f"{got} bytes of output"

        self.table.rates("output of apply, start and end included", kage, lambda: wire.out(self.size), self.size, self.long_runs, 0.7)
        self.table.value("peak memory of kage apply", [max(peaks)], "MiB", 32)

    def streams(self, wire, vm):
        blob, peaks = self.path("blob"), []
        with open(blob, "wb") as f:
            f.truncate(self.size)

        def take(*args):
            with open(blob, "rb") as f:
                peaks.append(drain([self.kage, *args], stdin=f)[1] / MIB)

        def copy_out():
            drain([self.kage, "cp", f"{vm}:/tmp/blob", self.path("copy")])
            os.unlink(self.path("copy"))

        rates, size, runs = self.table.rates, self.size, self.long_runs
        count = str(self.size // (64 * 1024))
        rates("output of exec", lambda: drain([self.kage, "exec", vm, "--", "dd", "if=/dev/zero", "bs=64k", "count=" + count]),
              lambda: wire.out(size), size, runs, 0.7)
        rates("input of exec, from a file", lambda: take("exec", vm, "--", "dd", "of=/dev/null", "bs=64k"),
              lambda: wire.into(size), size, runs, 0.7)
        self.table.value("peak memory of kage exec with input", [max(peaks)], "MiB", 32)
        # The copy lives in the guest's memory, which is small.
        room = min(size, 128 * MIB)
        os.truncate(blob, room)
        rates(f"cp into the machine, {room // MIB} MiB", lambda: run(self.kage, "cp", blob, f"{vm}:/tmp/blob"),
              lambda: wire.into(room), room, runs)
        rates(f"cp out of it, {room // MIB} MiB", copy_out, lambda: wire.out(room), room, runs)

    def files(self):
        count, share = 2000, self.path("tree")
        self.table.title(f"{count} files of 1 KiB in 40 folders")
        for i in range(count):
            folder = os.path.join(share, "in", f"d{i % 40}")
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, f"f{i}"), "wb") as f:
                f.write(os.urandom(1024))
        vm = self.start("--share", share, "tree:rw")
        try:
            def rate(what, *argv):
                self.table.value(what, [count / timed(lambda: run(self.kage, *argv)) for _ in range(self.long_runs)],
                                 "/s", more_is_better=True)

            rate("read through a share (tar)", "exec", vm, "--", "sh", "-c", "tar -cf /dev/null -C /mnt/tree in")
            rate("looked at through a share (find -size)", "exec", vm, "--", "find", "/mnt/tree/in", "-size", "+100")
            rate("written through a share (cp -r, rm -r)", "exec", vm, "--", "sh", "-c",
                 "cp -r /mnt/tree/in /mnt/tree/new && rm -r /mnt/tree/new")
            rate("copied in (kage cp)", "cp", os.path.join(share, "in"), f"{vm}:/root/")
            rate("copied out (kage cp)", "cp", f"{vm}:/root/in", self.path("out/"))
        finally:
            run(self.kage, "stop", vm)

    def calls(self):
        self.table.title("small things")
        vm = self.start()
        try:
            def call():
                run(self.kage, "exec", vm, "--", "true")

            call()
            self.table.value("one exec of true", [timed(call) for _ in range(self.runs)], "s")
            program = "i=0; while [ $i -lt 10000 ]; do echo -n x; i=$((i+1)); done"
            self.table.value("10,000 writes of one byte", [timed(lambda: run(self.kage, "exec", vm, "--", "sh", "-c", program))
                                                           for _ in range(self.long_runs)], "s")
            self.table.value("the same into /dev/null", [timed(lambda: run(self.kage, "exec", vm, "--", "sh", "-c", f"({program}) >/dev/null"))
                                                         for _ in range(self.long_runs)], "s")
        finally:
            run(self.kage, "stop", vm)
        names = []
        for i in range(2000):
            names.append(self.spec(f"check{i}", HELLO))
        self.table.value("kage check of one spec", [timed(lambda: run(self.kage, "check", self.hello)) for _ in range(self.runs)], "s", 0.005)
        self.table.value("kage check of 2,000 specs", [2000 / timed(lambda: run(self.kage, "check", *names)) for _ in range(self.runs)],
                         "/s", 5000, more_is_better=True)

    def density(self, count=8):
        """What a machine more takes: the share of every page that is its own, and the time."""
        self.table.title(f"{count} machines at once")
        spec = self.spec("sleep", SLEEP.format(seconds=3 + count))

        def all_at_once(n):
            runs = [subprocess.Popen([self.kage, "apply", spec], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(n)]
            start = time.monotonic()
            for r in runs:
                assert r.stdout.readline() == b"up\n", "a machine did not come up"
            took, total = time.monotonic() - start, sum(pss(r.pid) for r in runs)
            for r in runs:
                r.stdout.close()
                assert r.wait() == 0, "a machine failed"
            return took, total

        def pss(pid):
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                children = f.read().split()
            with open(f"/proc/{pid}/smaps_rollup") as f:
                own = sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
            return own + sum(pss(child) for child in children)

        one_took, one = all_at_once(1)
        took, total = all_at_once(count)
        self.table.value("memory of a further machine (PSS)", [(total - one) / (count - 1) / MIB], "MiB", 60)
        self.table.value("until one is up", [one_took], "s")
        self.table.value(f"until all {count} are up", [took], "s")


GROUPS = ("starts", "flow", "files", "calls", "density")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kage", default=os.path.join(os.path.dirname(__file__), "../../build/bin/kage"))
    parser.add_argument("--runs", type=int, default=9, help="of each side of a pair of starts; a third of it for what is slow (9)")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="bytes moved in the throughput rows (1024)")
    parser.add_argument("--quick", action="store_true", help="--runs 3 --size 64")
    parser.add_argument("--only", metavar="GROUP,…", default=",".join(GROUPS), help="of " + ", ".join(GROUPS))
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    parser.add_argument("--svg", metavar="FILE", help="draw the ratios")
    parser.add_argument("--docs", action="store_true", help="put table and plot of this run into docs/, in place of the last ones")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.size = 3, 64
    wrong = [g for g in options.only.split(",") if g not in GROUPS]
    if wrong:
        parser.error(f"there is no group {wrong[0]}")

    with tempfile.TemporaryDirectory(prefix="kage-bench-") as folder:
        bench = Bench(options, folder)
        for group in options.only.split(","):
            getattr(bench, group)()
    about = {"cpus": os.cpu_count(), "accelerator": bench.plan.value("-accel"), "host_kernel": platform.release(),
             "qemu": run("qemu-system-x86_64", "--version").decode().split("\n")[0], "load": os.getloadavg(),
             "kage": run(bench.kage, "--version").decode().strip(), "date": time.strftime("%Y-%m-%d")}
    print("\n" + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in about.items()))
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": about, "rows": bench.table.rows, "missing": bench.table.missing}, f, indent=2)
            f.write("\n")
    if options.svg:
        plot.svg(bench.table.rows, options.svg)
    if options.docs:
        docs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")
        plot.markdown(about, bench.table.rows, os.path.join(docs, "performance.md"))
        plot.svg(bench.table.rows, os.path.join(docs, "images/performance.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
