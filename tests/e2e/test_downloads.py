"""Images from a URL: what a server, a broken connection or a broken cache may do to them.

The numbers are those of the threat model (docs/security.md)."""

import glob
import os
import shutil
import tempfile
import unittest

from image_server import ImageServer, make_certificate
from kage_e2e import Kage, wait_until

# squashfs's magic number, and content of which every part is different.
BODY = b"hsqs" + b"".join(i.to_bytes(4, "little") for i in range(200_000))


class Downloads(Kage):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp(prefix="kage-e2e-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.certificate = make_certificate(folder)

    def setUp(self):
        super().setUp()
        self.server = ImageServer(BODY, self.certificate)
        self.addCleanup(self.server.close)
        self.env = dict(os.environ, XDG_CACHE_HOME=self.path("cache"), SSL_CERT_FILE=self.certificate or "")
        self.env["no_proxy"] = "localhost"

    def pull(self, path, *args, scheme="http", digest=True):
        if digest:
            args = ("--digest", self.server.digest, *args)
        return self.kage("image", "pull", *args, self.server.url(scheme, path), env=self.env)

    def stored(self):
        return glob.glob(self.path("cache/kage/downloads/*/rootfs"))

    def parts(self):
        return glob.glob(self.path("cache/kage/downloads/.part-*"))

    def assert_stored(self, p):
        self.assert_code(p, 0)
        self.assertEqual(p.out.decode(), self.server.digest + "\n")
        self.assertEqual(len(self.stored()), 1)
        with open(self.stored()[0], "rb") as f:
            self.assertEqual(f.read(), BODY)
        self.assertEqual(self.parts(), [])

    def assert_refused(self, p, *words):
        self.assert_code(p, 1)
        for word in words:
            self.assertIn(word, p.err)
        self.assertEqual(self.stored(), [])

    def test_whole(self):
        self.assert_stored(self.pull("whole/image"))
        folder = os.path.dirname(self.stored()[0])
        self.assertEqual(os.stat(self.path("cache/kage/downloads")).st_mode & 0o777, 0o700)
        self.assertEqual(os.path.basename(folder), self.server.digest[len("sha256:") :])
        # What is there is not asked for again.
        asked = len(self.server.requests)
        self.assert_stored(self.pull("whole/image"))
        self.assertEqual(len(self.server.requests), asked)

    def test_ls_inspect_rm(self):
        self.assert_stored(self.pull("whole/image"))
        url = self.server.url("http", "whole/image")
        listed = self.kage("image", "ls", env=self.env).out.decode()
        self.assertIn(url, listed)
        name = listed.split()[1]
        p = self.kage("image", "inspect", name, env=self.env)
        self.assert_code(p, 0)
        self.assertIn(self.server.digest, p.out.decode())
        self.assert_code(self.kage("image", "rm", name, env=self.env), 0)
        self.assertEqual(self.stored(), [])

    def test_52_wrong_digest(self):
        p = self.pull("whole/image", "--digest", "sha256:" + "0" * 64, digest=False)
        self.assert_refused(p, b"does not have the digest", self.server.digest.encode())
        self.assertEqual(self.parts(), [])

    def test_53_truncated_then_retried_at_once(self):
        self.assert_stored(self.pull("breaking/image"))
        starts = [r[1] for r in self.server.requests]
        self.assertEqual(starts[0], None)
        self.assertGreaterEqual(len(starts), 3)
        self.assertEqual(starts[1], f"bytes={len(BODY) // 3 + 1}-")

    def test_53_truncated_then_retried_later(self):
        p = self.pull("broken/image")
        self.assert_refused(p, b"cannot download")
        self.assertEqual(len([x for x in self.parts() if not x.endswith(".etag")]), 1)
        self.server.alive = True
        asked = len(self.server.requests)
        self.assert_stored(self.pull("broken/image"))
        self.assertEqual(self.server.requests[asked][1:], (f"bytes={len(BODY) // 2}-", self.server.etag))

    def test_53_the_file_changed_meanwhile(self):
        self.pull("broken/image")
        self.server.alive = True
        self.server.etag = '"another"'  # so the rest would not fit what is there
        self.assert_stored(self.pull("broken/image"))

    def test_53_a_server_that_cannot_resume(self):
        self.pull("broken/image")
        # The same part: it is named after the digest.
        self.assert_stored(self.pull("unranged/image"))

    def test_53_a_part_with_wrong_bytes(self):
        self.pull("broken/image")
        self.server.alive = True
        part = next(x for x in self.parts() if not x.endswith(".etag"))
        with open(part, "r+b") as f:
            f.seek(1000)
            f.write(b"????")
        self.assert_stored(self.pull("broken/image"))

    def test_54_endless(self):
        p = self.pull("endless/image", "--max-size", "8MiB")
        self.assert_refused(p, b"is larger than the 8 MiB")
        size = sum(os.path.getsize(x) for x in self.parts())
        self.assertLessEqual(size, 8 << 20)

    def test_54_announced(self):
        self.assert_refused(self.pull("announced/image"), b"is larger than the 65536 MiB")

    def test_55_redirects(self):
        for where in ("file", "http"):
            with self.subTest(where):
                p = self.pull(f"to/{where}/image")
                self.assert_refused(p, b"sends us on to an address that is not https")
        self.assertNotIn(("/whole/image", None, None), self.server.requests)
        self.assert_refused(self.pull("to/loop/image"), b"cannot download")

    @unittest.skipUnless(shutil.which("openssl"), "needs openssl for a certificate")
    def test_55_redirects_from_https(self):
        for where in ("file", "http"):
            with self.subTest(where):
                p = self.pull(f"to/{where}/image", scheme="https")
                self.assert_refused(p, b"sends us on to an address that is not https")
        self.assert_stored(self.pull("to/https/image", scheme="https"))

    @unittest.skipUnless(shutil.which("openssl"), "needs openssl for a certificate")
    def test_https(self):
        self.assert_stored(self.pull("whole/image", scheme="https", digest=False))
        self.env["SSL_CERT_FILE"] = ""
        self.assert_code(self.kage("image", "rm", "--all", env=self.env), 0)
        self.assert_refused(self.pull("whole/image", scheme="https"), b"certificate")

    def test_plain_http_needs_a_digest(self):
        self.assert_refused(self.pull("whole/image", digest=False), b"use https, or give the digest")
        self.assertEqual(self.server.requests, [])

    def test_other_schemes(self):
        for url in ("file:///etc/passwd", "ftp://localhost/x", "/etc/passwd", "-"):
            with self.subTest(url):
                p = self.kage("image", "pull", "--digest", self.server.digest, url, env=self.env)
                self.assert_refused(p, b"only from https")

    def test_what_is_no_image(self):
        self.server.body = b"<html>Please log in" + bytes(100)
        p = self.kage("image", "pull", self.server.url("https", "whole/image"), env=self.env)
        self.assert_refused(p, b"is no root file system but text")
        self.assertEqual(self.parts(), [])

    def test_a_name_and_password_are_not_shown(self):
        url = self.server.url("http", "whole/image").replace("//", "//user:hunter2@")
        p = self.kage("image", "pull", "--digest", self.server.digest, url, env=self.env)
        self.assert_stored(p)
        self.assertNotIn(b"hunter2", p.err + self.kage("image", "ls", env=self.env).out)

    def test_56_backing_file(self):
        header = bytearray(104)
        header[0:8] = b"QFI\xfb\0\0\0\3"
        self.server.body = bytes(header)
        self.assert_code(self.pull("whole/image", digest=False, scheme="https"), 0)
        self.kage("image", "rm", "--all", env=self.env)
        for what, at, value in ((b"a backing file", 8, 104), (b"an external data file", 72, 4)):
            with self.subTest(what):
                bad = bytearray(header)
                bad[at : at + 8] = value.to_bytes(8, "big")
                self.server.body = bytes(bad)
                self.assert_refused(self.pull("whole/image", digest=False, scheme="https"), what)
                self.assertEqual(self.parts(), [])

    def test_58_flipped_bit(self):
        self.assert_stored(self.pull("whole/image"))
        path = self.stored()[0]
        times = os.stat(path)
        with open(path, "r+b") as f:
            f.seek(123_456)
            byte = f.read(1)[0]
            f.seek(123_456)
            f.write(bytes([byte ^ 4]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        p = self.kage("image", "inspect", os.path.basename(os.path.dirname(path)), env=self.env)
        self.assert_code(p, 1)
        self.assertIn(b"is damaged", p.err)
        p = self.pull("whole/image")
        self.assertIn(b"damaged and is downloaded again", p.err)
        self.assert_stored(p)

    def test_59_two_at_once(self):
        url = self.server.url("http", "slow/image")
        both = [
            self.start("image", "pull", "--digest", self.server.digest, url, env=self.env) for _ in range(2)
        ]
        self.assertTrue(self.server.started.wait(10))
        self.assertTrue(wait_until(lambda: self.parts(), 5))
        self.server.go_on.set()
        for process in both:
            process.out, process.err = process.communicate(timeout=60)
            self.assert_stored(process)
        self.assertEqual(len(self.server.requests), 1)
        self.assertIn(b"waiting for another kage", both[0].err + both[1].err)


if __name__ == "__main__":
    unittest.main()
