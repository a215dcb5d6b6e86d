#!/usr/bin/python3
"""Runs the conformance tests against a vmd on this host, for CTest.

usage: run.py VMD SANDBOX_HELPER [TEST…]

Exit code 77 means skipped, with the reason on standard output.
"""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main():
    vmd, helper, *names = sys.argv[1:]
    try:
        import websockets  # noqa: F401
    except ImportError:
        skip(f"{sys.executable} has no websockets module; install python3-websockets")
    if os.getuid() != 0:
        skip("the sandbox of commands needs root")
    probe = subprocess.run([helper, "--", "/bin/true"], capture_output=True, text=True)
    if probe.returncode != 0:
        skip(f"no sandbox on this host: {probe.stderr.strip()}")
    os.environ["KAGE_VMD"] = os.path.abspath(vmd)
    os.environ["KAGE_HELPER"] = os.path.abspath(helper)
    sys.path.insert(0, HERE)
    names = names or sorted(f[:-3] for f in os.listdir(HERE) if f.startswith("test_"))
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped and len(result.skipped) >= result.testsRun:
        skip(result.skipped[0][1])


main()
