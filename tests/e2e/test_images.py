"""Images in use: Debian from nothing, recipes, root file systems of every kind, scratch disks."""

import json
import os
import re
import shutil
import subprocess
import time
import unittest

from kage_e2e import KAGE, SLOW, Kage

SPECS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../specs")
os.environ["PATH"] += ":/usr/sbin:/sbin"


def have(*programs):
    """A reason to skip, unless all of these are there."""
    missing = [p for p in programs if not shutil.which(p)]
    return unittest.skipIf(missing, f"needs {', '.join(missing)}")


def run(*args, **kwargs):
    return subprocess.run(args, check=True, capture_output=True, **kwargs)


def kage(*args, timeout=600):
    return subprocess.run([KAGE, *args], capture_output=True, timeout=timeout * SLOW, check=False)


@have("mmdebstrap", "sqfstar")
class Debian(Kage):
    """The image is built once, from nothing, as `kage image build debian-12` does it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        began = time.monotonic()
        cls.built = kage("image", "build", "debian-12")
        cls.took = time.monotonic() - began
        why = cls.built.stderr.decode()
        if cls.built.returncode and re.search("cannot be reached|can neither use user namespaces", why):
            raise unittest.SkipTest("Debian cannot be built here: " + why.strip().splitlines()[-1])

    def test_built(self):
        said = self.built.stderr.decode()
        self.assertEqual(self.built.returncode, 0, said)
        self.assertRegex(said, r"kage: built debian-12 in \S+: \d+\.\d MiB\n")
        folder = self.built.stdout.decode().strip()
        self.assertRegex(folder, r"/images/debian-12-[0-9a-f]{16}$")
        with open(os.path.join(folder, "manifest.json")) as f:
            manifest = json.load(f)
        self.assertTrue(manifest["rootfs"]["sha256"].startswith(folder[-16:]))
        self.assertRegex(manifest["packages"], r"\bgcc=\S+ ")
        self.assertLess(manifest["rootfs"]["size"], 400 << 20)
        self.assertIn(f"* {os.path.basename(folder)} ", kage("image", "ls").stdout.decode())
        p = kage("image", "inspect", "--json", "debian")
        self.assertEqual(json.loads(p.stdout), manifest)

    @have("unshare", "ip")
    def test_c_project_without_a_network(self):
        shutil.copytree(os.path.join(SPECS, "c-project"), self.path("c-project"))
        shutil.copy(os.path.join(SPECS, "c-project.yaml"), self.dir)
        # In a network of its own, where there is loopback and nothing else.
        script = 'ip link set lo up && exec "$@"'
        p = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh", KAGE, "apply", "c-project.yaml"],
            cwd=self.dir, capture_output=True, timeout=300 * SLOW, check=False,
        )  # fmt: skip
        if b"unshare: " in p.stderr:
            p = kage("apply", self.path("c-project.yaml"))
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn(b"all passed\n", p.stdout)

    def test_a_system_as_one_expects_it(self):
        p = self.apply(
            """
            version: 1
            image: debian
            machine: {memory: 512MiB}
            users: {tester: {uid: 1000}}
            commands:
              - run: |
                  . /etc/os-release; echo "$ID $VERSION_ID"
                  cat /etc/hostname; stat -c '%A %U' /; getent hosts localhost
                  touch /usr/bin/x /etc/x && rm /usr/bin/x
                  dpkg -s gcc | grep Status
                  vim.tiny --version | head -1 | cut -c1-3; ps -o comm= 1; less --version | head -c4; echo
              - {user: tester, shell: bash, run: 'id -un; [[ -w /usr ]] || echo read-only; su -c id 2>&1 || echo refused'}
            """
        )
        self.assert_code(p, 0)
        lines = p.out.decode().splitlines()
        self.assertEqual(lines[:3], ["debian 12", "kage", "drwxr-xr-x root"])
        self.assertIn("Status: install ok installed", lines)
        self.assertIn("VIM", lines)
        self.assertEqual(lines[-1], "refused")
        self.assertIn("tester", lines)


@have("mmdebstrap", "sqfstar")
class Recipes(Kage):
    def setUp(self):
        super().setUp()
        # Images of these names are nobody else's business.
        self.name = f"test-{os.getpid()}"
        self.addCleanup(kage, "image", "rm", self.name)

    def test_own_recipe(self):
        self.write("hello", "#!/bin/sh\necho hello, $1\n")
        self.write(
            "own.conf",
            """
            # What every machine of ours needs.
            distribution debian
            suite bookworm
            leave-out /usr/share/doc/* /usr/share/locale/* /usr/share/man/*
            file hello /opt/our-tools/hello 755
            """,
        )
        args = ("image", "build", "--recipe", self.path("own.conf"), self.name)
        p = kage(*args)
        if b"cannot be reached" in p.stderr or b"can neither use" in p.stderr:
            self.skipTest(p.stderr.decode().strip().splitlines()[-1])
        self.assertEqual(p.returncode, 0, p.stderr)
        p2 = self.apply(
            f"""
            version: 1
            image: {self.name}
            commands:
              - exec: [/opt/our-tools/hello, world]
              - run: ls -ld /opt/our-tools/hello | cut -c1-10; command -v gcc || echo no gcc
            """
        )
        self.assert_code(p2, 0)
        self.assertEqual(p2.out, b"hello, world\n-rwxr-xr-x\nno gcc\n")
        # The same packages and files give the same bytes: the folder is named after them.
        again = kage(*args)
        self.assertEqual(again.stdout, p.stdout, again.stderr)
        self.assertEqual(kage("image", "rm", self.name).returncode, 0)
        self.assertNotIn(self.name, kage("image", "ls").stdout.decode())

    def test_recipes_that_are_wrong(self):
        cases = {
            "": "which distribution?",
            "distribution plan9\n": "'plan9' is not known",
            "distribution debian\n": "is not a suite",
            "suite\n": "'suite' needs a value",
            "frobnicate x\n": "'frobnicate' is no word of a recipe",
            "distribution debian\nsuite bookworm\npackages --help\n": "'--help' is not a package",
            "distribution debian\nsuite bookworm\npackages x$(id)\n": "is not a package",
            "distribution debian\nsuite bookworm\nfile x /../x\n": "is not an absolute path",
            "distribution debian\nsuite bookworm\nfile gone /x\n": "there is no file",
            "from gone\n": "there is no recipe",
            "from wrong.conf\n": "include each other",
        }
        for text, said in cases.items():
            with self.subTest(text):
                self.write("wrong.conf", text)
                p = kage("image", "build", "--recipe", self.path("wrong.conf"), self.name)
                self.assertEqual(p.returncode, 1)
                self.assertIn(said, p.stderr.decode())
        p = kage("image", "build", "--recipe", self.path("none"), self.name)
        self.assertIn(b"cannot read the recipe", p.stderr)
        self.assertNotIn(self.name, kage("image", "ls").stdout.decode())

    def test_a_mirror_that_is_not_there(self):
        p = kage("image", "build", "--mirror", "http://127.0.0.1:1/debian", "debian-12")
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"http://127.0.0.1:1/debian has no suite 'bookworm', or cannot be reached", p.stderr)


def static_busybox():
    path = shutil.which("busybox")
    if not path:
        return None
    return path if b"not a dynamic executable" in subprocess.run(["ldd", path], capture_output=True, check=False).stderr else None


@have("mke2fs")
@unittest.skipUnless(static_busybox(), "needs a static busybox")
class RootFilesystems(Kage):
    """A small system in every form a root file system can have."""

    def setUp(self):
        super().setUp()
        tree = self.path("tree")
        for name in ("bin", "etc", "usr", "tmp"):
            os.makedirs(os.path.join(tree, name))
        shutil.copy(static_busybox(), os.path.join(tree, "bin/busybox"))
        for name in ("sh", "cat", "ls", "touch", "id"):
            os.symlink("busybox", os.path.join(tree, "bin", name))
        self.write("tree/etc/passwd", "root:x:0:0::/:/bin/sh\n")
        self.write("tree/etc/mark", "this is it\n")

    def ext4(self):
        run("mke2fs", "-q", "-t", "ext4", "-d", self.path("tree"), self.path("ext4.img"), "16M")
        return "ext4.img"

    def boots(self, image, code=0):
        """Runs a job on it; whatever happens, the file stays as it was."""
        file = self.path(re.search(r"[a-z0-9]+\.(img|qcow2)", image)[0])
        with open(file, "rb") as f:
            before = f.read()
        p = self.apply(
            f"""
            version: 1
            image: {image}
            commands:
              - run: cat /etc/mark; touch /etc/new
            """
        )
        self.assert_code(p, code)
        if code == 0:
            self.assertEqual(p.out, b"this is it\n")
        with open(file, "rb") as f:
            self.assertEqual(f.read(), before)
        return p

    def test_ext4(self):
        self.boots("{path: %s}" % self.ext4())

    @have("mksquashfs")
    def test_squashfs(self):
        run("mksquashfs", self.path("tree"), self.path("squashfs.img"), "-comp", "zstd")
        self.boots("{path: squashfs.img}")

    @have("mkfs.erofs")
    def test_erofs(self):
        run("mkfs.erofs", "-zlz4", self.path("erofs.img"), self.path("tree"))
        self.boots("{path: erofs.img}")

    @have("sfdisk")
    def test_partitions(self):
        boot = self.path("boot.img")
        run("mke2fs", "-q", "-t", "ext4", boot, "4M")
        layout = b"label: gpt\nstart=2048, size=8192\nstart=10240, size=32768\n"
        with open(self.path("disk.img"), "wb") as f:
            f.truncate(24 << 20)
        run("sfdisk", "-q", self.path("disk.img"), input=layout)
        with open(self.path("disk.img"), "r+b") as disk:
            for sector, part in ((2048, boot), (10240, self.path(self.ext4()))):
                disk.seek(sector * 512)
                with open(part, "rb") as f:
                    disk.write(f.read())
        self.boots("{path: disk.img}")

    @have("qemu-img")
    def test_qcow2(self):
        run("qemu-img", "convert", "-c", "-O", "qcow2", self.path(self.ext4()), self.path("root.qcow2"))
        self.boots("{path: root.qcow2}")

    @have("qemu-img")
    def test_56_qcow2_that_leads_elsewhere(self):
        self.ext4()
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "ext4.img", "-F", "raw", "over.qcow2", cwd=self.dir)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "split.qcow2", "16M", cwd=self.dir)
        self.assertIn(b"with a backing file", self.boots("{path: over.qcow2}", 125).err)
        self.assertIn(b"with an external data file", self.boots("{path: split.qcow2}", 125).err)

    def test_the_format_is_said_outright(self):
        """QEMU must not guess from bytes that somebody else wrote."""
        plan = self.kage("plan", "--format=json", self.spec("version: 1\nimage: {path: %s}\ncommands: [{exec: [a]}]\n" % self.ext4()))
        self.assert_code(plan, 0)
        args = [a["arg"] for a in json.loads(plan.out)["args"]]
        self.assertIn("driver=%{rootfs-format},node-name=rootfs,file=image,read-only=on", args)

    def test_digest(self):
        sha = run("sha256sum", self.path(self.ext4())).stdout.split()[0].decode()
        self.boots("{path: ext4.img, digest: 'sha256:%s'}" % sha)
        p = self.boots("{path: ext4.img, digest: 'sha256:%s'}" % ("0" * 64), 125)
        self.assertIn(b"does not have the digest the spec gives", p.err)

    def test_with_a_kernel(self):
        folder = kage("image", "inspect", "tiny").stdout.decode().split("folder")[1].split()[0]
        shutil.copy(os.path.join(folder, "kernel"), self.path("vmlinuz"))
        self.ext4()
        self.boots("{kernel: vmlinuz, rootfs: ext4.img}")

    def test_no_system(self):
        self.write("text.img", "hello\n")
        self.assertIn(b"is no root file system", self.boots("{path: text.img}", 125).err)

    def test_start(self):
        """`kage start` and `vmctl start` with a root file system; a kernel beside it is taken."""
        os.mkdir(self.path("run"), 0o700)
        env = {**os.environ, "XDG_RUNTIME_DIR": self.path("run")}
        self.addCleanup(lambda: subprocess.run([KAGE, "stop", "--all"], env=env, capture_output=True, check=False))
        self.ext4()
        p = self.kage("start", "./ext4.img", env=env)
        self.assert_code(p, 0)
        vm = p.out.decode().strip()
        p = self.kage("exec", vm, "--", "cat", "/etc/mark", env=env)
        self.assertEqual(p.out, b"this is it\n", p.err)
        self.assert_code(self.kage("stop", vm, env=env), 0)
        vmctl = os.path.join(os.path.dirname(KAGE), "vmctl")
        p = subprocess.run([vmctl, "start", "ext4.img"], cwd=self.dir, env=env, capture_output=True, check=False)
        self.assertEqual(p.returncode, 0, p.stderr)
        port = p.stdout.decode().strip()
        p = self.kage("exec", port, "--", "cat", "/etc/mark", env=env)
        self.assertEqual(p.out, b"this is it\n", p.err)


class ScratchDisks(Kage):
    @have("mke2fs")
    def test_mounted(self):
        spec = """
            version: 1
            image: tiny
            machine: {disk: 2GiB, memory: 256MiB}
            mounts: [{type: disk, target: /data}]
            users: {tester: {uid: 1000}}
            commands:
              - run: ls -A /data; df -m /data | tail -1
              - {user: tester, run: 'dd if=/dev/zero of=/data/big bs=1M count=300 && ls -l /data/big'}
            """
        for _ in range(2):  # what one run wrote, the next does not see; a template neither
            p = self.apply(spec)
            self.assert_code(p, 0)
            size = int(p.out.split()[1])
            self.assertGreater(size, 1900)
            self.assertIn(b"314572800", p.out)


if __name__ == "__main__":
    unittest.main()
