#!/usr/bin/env python3
"""Goal:   faultline-crash does for a stranger what its help says: it explores a workload of theirs, finds the state that
        breaks its promise, goes to it again from the line it printed, and reports as text, JSON and HTML.
Method: the example workload as it should be, and the same with its transfers torn in two; wrong arguments.

test_program.py PROGRAM LEDGER TORN
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

PROGRAM, LEDGER, TORN = sys.argv[1:4]


def crash(*arguments, status=0):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode != status:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Program(unittest.TestCase):
    def test_help_names_commands_and_workloads(self):
        text = crash("--help").stdout
        for word in ("explore", "replay", "record", "score", "report", "points", "writers"):
            self.assertIn(word, text)

    def test_wrong_arguments_say_what_is_wrong(self):
        for arguments, word in (
            (["explode"], "explode"),
            (["explore", "nonsense"], "nonsense"),
            (["explore", "points", "--states", "many"], "many"),
            (["explore", "points", "--kind", "tape"], "tape"),
            (["explore", "./nothing.so"], "nothing.so"),
            (["replay", "points"], "--at"),
            (["replay", "points", "--at", "here"], "here"),
            (["report", "/nonexistent/results"], "/nonexistent/results"),
        ):
            self.assertIn(word, crash(*arguments, status=2).stderr)

    def test_replay_elsewhere_says_that_there_is_no_such_moment(self):
        self.assertIn("no such moment", crash("replay", "points", "--at", "99999:").stdout)

    def test_own_workload_that_is_right_is_clean_in_both_kinds(self):
        with tempfile.TemporaryDirectory() as folder:
            saved = str(pathlib.Path(folder, "results"))
            text = crash("explore", LEDGER, "--kind", "both", "--states", "64", "--again", "300", "-q",
                         "--save", saved).stdout
            self.assertIn("page", text)
            out = json.loads(crash("report", saved, "--json", "-").stdout)
        self.assertEqual(2, len(out["runs"]))
        for run in out["runs"]:
            self.assertFalse(run["violation"])
            self.assertGreater(run["states"], 50)

    def test_own_workload_that_is_torn_is_found_replayed_and_drawn(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder, "report.html")
            text = crash("explore", TORN, "-q", "--html", str(page), status=1).stdout
            html = page.read_text()
        self.assertRegex(text, r"the accounts hold \d+, not 400")
        for part in ("power cut", "block 0", "log segment", "class=lines", "put account:"):
            self.assertIn(part, html)
        line = re.search(r"again: faultline-crash (replay .*)", text).group(1)
        again = crash(*shlex.split(line), status=1).stdout
        self.assertIn("the accounts hold", again)
        self.assertIn("power cut", again)

    def test_plain_mapping_must_lose_a_block_and_is_made_smaller(self):
        done = crash("explore", "segments", "--plain", "-q", status=1)
        self.assertIn("FL_CORRUPT", done.stdout)
        self.assertIn("made smaller", done.stderr)

    def test_budget_that_ends_early_tells_the_moments_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            saved = str(pathlib.Path(folder, "results"))
            crash("explore", "points", "-q", "--again", "0", "--save", saved)
            crash("explore", "points", "-q", "--again", "0", "--budget", "200", "--save", saved)
            out = json.loads(crash("report", saved, "--json", "-").stdout)
            html = crash("report", saved, "--html", "-").stdout
            text = crash("report", saved).stdout
        whole, part = out["runs"]
        self.assertEqual(0, whole["moments_not_reached"])
        self.assertGreater(part["moments_not_reached"], 0)
        self.assertEqual(whole["moments"], part["moments"] + part["moments_not_reached"])
        self.assertIn("not reached", html)
        self.assertRegex(text, rf"(?s)truncated +not reached.*\b{part['moments_not_reached']}\b")

    def test_exhaustive_run_that_leaves_something_out_fails_and_says_so(self):
        for why in (["--budget", "100"], ["--seconds", "1", "segments"]):
            with tempfile.TemporaryDirectory() as folder:
                saved = str(pathlib.Path(folder, "results"))
                text = crash("explore", "points", *why, "--exhaustive", "-q", "--save", saved, status=1).stdout
                self.assertRegex(text, r"NOT EXHAUSTIVE \w+, dax, exhaustive: \d+ moments truncated, \d+ not reached")
                self.assertIn("NOT EXHAUSTIVE", crash("report", saved, status=1).stdout)
        self.assertNotIn("NOT EXHAUSTIVE", crash("explore", "points", "--exhaustive", "-q").stdout)

    def test_record_shows_events_and_where_they_come_from(self):
        text = crash("record", "points").stdout
        for word in ("NT store", "fence", "fault_in", "begun", "every byte that changed was seen"):
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
