"""The example specs: clean for `kage check`, and each does what it says."""

import glob
import json
import os
import shutil
import unittest
import xml.etree.ElementTree

from kage_e2e import Kage

SPECS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../specs")
NAMES = sorted(os.path.basename(p) for p in glob.glob(os.path.join(SPECS, "*.yaml")))


class Specs(Kage):
    def setUp(self):
        super().setUp()
        shutil.copytree(SPECS, self.path("specs"))

    def test_there_are_specs(self):
        self.assertGreaterEqual(len(NAMES), 6)

    def test_no_findings(self):
        p = self.kage("check", *[f"specs/{name}" for name in NAMES])
        self.assert_code(p, 0)
        self.assertEqual(p.out + p.err, b"")

    def test_reports_reach_the_host(self):
        for name, report, tests in (
            ("shares", "shares/out/junit.xml", 4),
            ("test-suite", "test-suite/out/junit.xml", 9),
        ):
            with self.subTest(name):
                path = self.path("specs", report)
                if os.path.exists(path):
                    os.unlink(path)
                self.assert_code(self.kage("apply", f"specs/{name}.yaml"), 0)
                suite = xml.etree.ElementTree.parse(path).getroot()
                self.assertEqual(suite.get("tests"), str(tests))
                self.assertEqual(suite.get("failures"), "0")
                self.assertEqual(len(suite.findall("testcase")), tests)

    def test_a_failing_test_fails_the_job_and_is_reported(self):
        with open(self.path("specs/test-suite/tests/test_broken.sh"), "w") as f:
            f.write('test_broken() {\n\tequal "<1>" 2\n}\n')
        p = self.kage("apply", "specs/test-suite.yaml")
        self.assert_code(p, 1)
        self.assertIn(b"FAIL test_broken test_broken: want '<1>', got '2'", p.out)
        suite = xml.etree.ElementTree.parse(self.path("specs/test-suite/out/junit.xml")).getroot()
        self.assertEqual(suite.find("testcase/failure").text, "want '<1>', got '2'")

    def test_a_kept_plan_runs(self):
        p = self.kage("plan", "--format=json", "specs/expected-failure.yaml")
        self.assert_code(p, 0)
        self.assertEqual(json.loads(p.out)["name"], "expected-failure")
        with open(self.path("plan.json"), "wb") as f:
            f.write(p.out)
        self.assert_code(self.kage("apply", "--plan", "plan.json"), 0)


def add_spec(name):
    def test(self):
        self.assert_code(self.kage("apply", f"specs/{name}"), 0)

    setattr(Specs, "test_" + name[: -len(".yaml")].replace("-", "_"), test)


# shares and test-suite are run above, and c-project where its image is built: test_images.py.
for name in NAMES:
    if name not in ("shares.yaml", "test-suite.yaml", "c-project.yaml"):
        add_spec(name)

if __name__ == "__main__":
    unittest.main()
