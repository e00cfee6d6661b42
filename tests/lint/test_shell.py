"""Goal:   check_shell fails on a finding of shellcheck, in scripts with and without a suffix.
Method: a clean script, then one with an unquoted variable, under both kinds of name.
"""
import unittest

import planted


class Shell(planted.PlantedTest):
    tool = "check_shell"
    files = {"run": '#!/usr/bin/env bash\necho "$1"\n', "tools/notes": "not a script\n"}

    def test_clean_scripts_find_nothing(self):
        self.assert_clean({})

    def test_fault_is_caught(self):
        for path in ("check", "tools/a.sh", ".ci/run"):
            with self.subTest(path):
                self.assert_caught({path: "#!/bin/sh\nrm -r $1\n"}, path, "SC2086")


unittest.main()
