"""Machines that say nothing for longer than a minute, which is how long a guest may leave pings unanswered."""

import unittest

from kage_e2e import Kage

QUIET = """
    version: 1
    name: {name}
    image: tiny
    commands:
      - exec: [sleep, "85"]
    """


class Quiet(Kage):
    def test_quiet_machines_are_not_given_up(self):
        # Once it hung on the millisecond in which each answer came: several have several chances.
        self.apply("version: 1\nimage: tiny\ncommands: [{exec: ['true']}]\n")
        runs = [self.start("apply", self.spec(QUIET.format(name=f"quiet{i}"), f"quiet{i}.yaml")) for i in range(6)]
        for run in runs:
            _, err = run.communicate(timeout=240)
            self.assertEqual(run.returncode, 0, err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
