"""Clocks, children and the table."""

import os
import statistics
import subprocess
import threading
import time


def timed(function):
    start = time.monotonic()
    function()
    return time.monotonic() - start


def run(*argv, **kwargs):
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kwargs)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} {argv[1]} exited {done.returncode}: {done.stderr[-500:].decode(errors='replace')}")
    return done.stdout


def drain(argv, stdin=None):
    """Runs a command and throws its output away as it comes. Returns (bytes of output, the most memory
    the process had at a time, in bytes)."""
    peak = [0]
    process = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def watch():
        while process.returncode is None:
            try:
                with open(f"/proc/{process.pid}/status") as f:
                    peak[0] = max([peak[0]] + [int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM")])
            except OSError:
                return
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    got, buffer = 0, bytearray(64 * 1024)
    while n := os.readv(process.stdout.fileno(), [buffer]):
        got += n
    problem = process.stderr.read()
    if process.wait():
        raise RuntimeError(f"{argv[:3]} exited {process.returncode}: {problem[-500:].decode(errors='replace')}")
    return got, peak[0]


class Table:
    """Rows as they come. Every pair is measured in turns (a, b, a, b, …), so that a machine that gets
    slower or faster in between does not favour either; the ratio is the median of the pairs' ratios."""

    def __init__(self):
        self.rows, self.missing = [], []

    def title(self, text, ours="kage", theirs="other"):
        print(f"\n{text:58} {ours:>11} {theirs:>11}   ratio", flush=True)

    def leave_out(self, what, why):
        self.missing.append({"what": what, "why": str(why)})
        print(f"{what:58} left out: {why}", flush=True)

    def row(self, what, kage, other, ratio, unit, runs, bar=None, more_is_better=False):
        self.rows.append({"what": what, "kage": round(kage, 4), "other": None if other is None else round(other, 4),
                          "unit": unit, "ratio": None if ratio is None else round(ratio, 3), "bar": bar,
                          "more_is_better": more_is_better, "runs": runs})
        text = f"{what:58} {kage:7.3g} {unit:3}"
        text += f" {other:7.3g} {unit:3}" if other is not None else " " * 12
        text += f" {ratio:6.2f}x" if ratio is not None else " " * 8
        if bar is not None:
            text += f"  ({'at least' if more_is_better else 'at most'} {bar:g}{'x' if ratio is not None else ' ' + unit})"
        print(text, flush=True)

    def times(self, what, kage, other, runs, bar=None):
        """Both are functions; `other` may return the seconds that count instead of all of its own."""
        kage(), other()  # once each, so that both find their caches full
        a, b = [], []
        for _ in range(runs):
            a.append(timed(kage))
            start = time.monotonic()
            b.append(other() or time.monotonic() - start)
        self.row(what, statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b)), "s",
                 runs, bar)

    def rates(self, what, kage, other, size, runs, bar=None):
        """Both are functions that move `size` bytes."""
        a, b = [], []
        for _ in range(runs):
            a.append(size / timed(kage) / 1e6)
            b.append(size / timed(other) / 1e6)
        self.row(what, statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b)), "MB/s",
                 runs, bar, more_is_better=True)

    def value(self, what, values, unit, bar=None, more_is_better=False):
        self.row(what, statistics.median(values), None, None, unit, len(values), bar, more_is_better)
