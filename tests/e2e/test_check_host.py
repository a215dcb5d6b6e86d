"""What `kage check --host` says of this machine, against what `kage apply` then does: an error is a
run that would fail, and without one it does not."""

import json
import os
import shutil
import socket
import subprocess
import unittest

from kage_e2e import KAGE, Kage

PLAIN = """
    version: 1
    image: tiny
    machine: {accel: tcg}
    commands:
      - run: "true"
    """


def with_lines(*lines):
    return PLAIN.replace("commands:", "\n    ".join(lines) + "\n    commands:")


class CheckHost(Kage):
    def host(self, text, *args, **kwargs):
        """The findings about the machine: (code, line) of each, with what it says."""
        spec = self.spec(text)
        p = self.kage("check", "--host", "--format=json", *args, spec, **kwargs)
        self.assertIn(p.returncode, (0, 1), p.err)
        found = [f for f in json.loads(p.out)["findings"] if f["code"].startswith("K6")]
        self.assertEqual(p.returncode == 1, any(f["severity"] == "error" for f in found), p.out)
        return {(f["code"], f["line"]): f["message"] + "; " + f.get("help", "") for f in found}

    def errors(self, text, **kwargs):
        return {k: v for k, v in self.host(text, **kwargs).items()
                if k[0] not in ("K604", "K605", "K607", "K609", "K610")}

    def assert_no_verdict(self, text, *args, **kwargs):
        self.assert_code(self.apply(text, *args, **kwargs), 125)

    def environment(self, **changes):
        env = dict(os.environ, **changes)
        return {k: v for k, v in env.items() if v is not None}

    def test_nothing_is_lacking(self):
        text = with_lines("mounts: [{type: share, source: s, target: /s}]",
                          "shares: {s: {path: ., writable: true}}")
        self.assertEqual(self.errors(text), {})
        self.assert_code(self.apply(text), 0)
        # The image is there now, and nothing is said of emulation that the spec asks for.
        self.assertEqual([k for k in self.host(text) if k[0] in ("K604", "K609")], [])

    def test_only_when_asked(self):
        cache = self.path("cache")
        env = self.environment(XDG_CACHE_HOME=cache, PATH=self.dir)
        p = self.kage("check", self.spec(PLAIN), env=env)
        self.assert_code(p, 0)
        self.assertEqual((p.out, p.err), (b"", b""))
        self.assertFalse(os.path.exists(cache), "something was looked up")

    def test_the_accelerator_is_told(self):
        auto = self.host(PLAIN.replace("tcg", "auto"))
        kvm = self.errors(PLAIN.replace("tcg", "kvm"))
        self.assertEqual(("K604", 3) in auto, ("K603", 3) in kvm, (auto, kvm))
        if ("K603", 3) in kvm:
            self.assertIn("kvm", auto["K604", 3])
            self.assert_no_verdict(PLAIN.replace("tcg", "kvm"))

    def test_no_qemu(self):
        env = self.environment(PATH=self.dir)
        found = self.errors(PLAIN, env=env)
        self.assertEqual(list(found), [("K601", 3)], found)
        self.assertIn("not in PATH; install it with", found["K601", 3])
        self.assert_no_verdict(PLAIN, env=env)

    def test_qemu_without_9p(self):
        """A QEMU made poorer by a script around it."""
        real = shutil.which("qemu-system-x86_64")
        if not real or os.uname().machine != "x86_64":
            self.skipTest("there is no qemu-system-x86_64")
        script = self.write("bin/qemu-system-x86_64", f"""
            #!/bin/sh
            case $* in *"-device help"*) {real} "$@" | grep -v virtio-9p; exit ;; esac
            exec {real} "$@"
            """)
        os.chmod(script, 0o755)
        env = self.environment(PATH=self.path("bin") + ":" + os.environ["PATH"],
                               XDG_CACHE_HOME=self.path("cache"))
        shares = with_lines("mounts: [{type: share, source: s, target: /s}]",
                            "shares: {s: {path: .}}")
        self.assertEqual(list(self.errors(shares, env=env)), [("K602", 5)])
        self.assertEqual(self.errors(PLAIN, env=env), {})

    def test_memory(self):
        with open("/proc/meminfo") as f:
            info = dict(line.split(":") for line in f)
        total = sum(int(info[k].split()[0]) for k in ("MemTotal", "SwapTotal")) // 1024
        text = PLAIN.replace("accel: tcg", f"accel: tcg, memory: {total + 1024}MiB")
        with open("/proc/sys/vm/overcommit_memory") as f:
            if f.read().strip() == "1":
                self.skipTest("this kernel grants any amount of memory")
        self.assertEqual(list(self.errors(text)), [("K606", 3)])
        self.assert_no_verdict(text, "--cold")
        # A limit of the shell counts as well.
        p = subprocess.run(["sh", "-c", 'ulimit -v 4000000; exec "$0" check --host "$1"', KAGE,
                            self.spec(PLAIN.replace("accel: tcg", "accel: tcg, memory: 4GiB"))],
                           capture_output=True, check=False)
        self.assertIn(b"[K606]", p.stdout, p.stderr)

    def test_image(self):
        env = self.environment(XDG_CACHE_HOME=self.path("cache"))
        self.assertEqual([k for k in self.host(PLAIN, env=env) if k[0] > "K607"], [("K609", 2)])
        self.assertEqual(os.listdir(self.path("cache/kage")), ["host"])  # QEMU's answers
        for image, word in [("{path: none.img}", "No such file"),
                            ("{path: job.yaml}", "no root file system"),
                            ("no-such-recipe", "no image named"),
                            ("{kernel: none}", "cannot read the kernel"),
                            ("{kernel: .}", "is not a file")]:
            text = PLAIN.replace("image: tiny", f"image: {image}")
            found = self.errors(text)
            self.assertEqual(list(found), [("K608", 2)], found)
            self.assertIn(word, found["K608", 2])
            self.assert_no_verdict(text)

    def test_digest(self):
        with open(self.path("root.img"), "wb") as f:
            f.write(b"hsqs" + bytes(5000))
        text = PLAIN.replace("image: tiny", f"image: {{path: root.img, digest: 'sha256:{'0' * 64}'}}")
        self.assertIn("does not have the digest", self.errors(text)["K608", 2])
        self.assert_no_verdict(text)

    def test_a_cache_of_somebody_else(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make one")
        os.makedirs(self.path("cache/kage"))
        os.chown(self.path("cache/kage"), 65534, 65534)
        env = self.environment(XDG_CACHE_HOME=self.path("cache"))
        self.assertIn("belongs to another user", self.errors(PLAIN, env=env)["K608", 2])
        self.assert_no_verdict(PLAIN, env=env)

    def test_ports(self):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            udp.bind(("127.0.0.1", 0))
            ports = tcp.getsockname()[1], udp.getsockname()[1]
            text = with_lines("network:", "  forward:", f'    - "{ports[0]}:80"',
                              f'    - "{ports[1]}:80/udp"')
            found = self.errors(text)
            self.assertEqual(list(found), [("K614", 6), ("K614", 7)], found)
            self.assertIn("in use", found["K614", 6])
            self.assert_no_verdict(text)
        self.assertEqual(self.errors(text), {})
        # Looking leaves nothing behind that would be in the way.
        self.assert_code(self.apply(text), 0)

    def test_secrets(self):
        text = with_lines("secrets:", "  A: {env: E2E_A}", "  B: {file: key}").replace(
            '- run: "true"', '- {run: "true", secrets: [A, B]}')
        env = self.environment(E2E_A=None)
        self.assertEqual(list(self.errors(text, env=env)), [("K613", 5), ("K613", 6)])
        self.assert_no_verdict(text, env=env)
        self.write("key", "secret\n")
        env = self.environment(E2E_A="value")
        self.assertEqual(self.errors(text, env=env), {})

    def test_scratch(self):
        text = PLAIN.replace("accel: tcg", "accel: tcg, disk: 1GiB")
        self.assertEqual(self.errors(text), {})
        env = self.environment(TMPDIR=self.path("none"))
        self.assertEqual(list(self.errors(text, env=env)), [("K611", 3)])
        self.assert_no_verdict(text, env=env)
        free = os.statvfs(os.environ.get("TMPDIR", "/var/tmp"))
        more = free.f_bavail * free.f_frsize // 2**30 + 2
        self.assertIn(("K610", 3), self.host(text.replace("1GiB", f"{more}GiB")))

    def test_folders(self):
        """As a user who may not."""
        text = with_lines("mounts: [{type: share, source: s, target: /s}]", "shares:",
                          "  s: {path: closed}", "  w: {path: out, writable: true}",
                          "artifacts:", "  - {path: /tmp/x, to: out/x}", "  - {path: /tmp/x, to: y}")
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        os.mkdir(self.path("closed"), 0o700)
        os.mkdir(self.path("out"), 0o755)
        os.chmod(self.dir, 0o777)
        os.mkdir(self.path("cache"))
        os.chown(self.path("cache"), 65534, 65534)
        env = self.environment(XDG_CACHE_HOME=self.path("cache"))
        try:
            found = self.errors(text, env=env, user=65534, group=65534, extra_groups=[])
        except PermissionError:
            self.skipTest("the other user cannot run kage where it is")
        self.assertEqual(list(found), [("K612", 6), ("K612", 7), ("K612", 9)], found)
        self.assertIn("Permission denied", found["K612", 6])
        self.assertIn("uid 65534", found["K612", 7])
        self.assertEqual(self.errors(text), {})


if __name__ == "__main__":
    unittest.main()
