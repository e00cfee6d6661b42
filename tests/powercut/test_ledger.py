"""Goal:   the judge of crash images sees every kind of violation, and calls nothing one that isn't.
Method: images made by hand, each against a ledger with steps answered, in flight, seen by a reader, failed, expired.
"""

import unittest

from ledger import Found, Image, Wanted, Writer, judge, parse_contents


def image_of(now=100.0, **keys):
    return Image({name.replace("_", ":"): Found(version, deadline, "ok")
                  for name, (version, deadline) in keys.items()}, now)


class Judge(unittest.TestCase):
    """Writer w: step 1 puts a and b, step 2 overwrites a; both answered. Step 3 changes a and deletes b, step 4
    puts c: in flight."""

    def setUp(self):
        self.writer = Writer("w")
        self.writer.send({"w:a": Wanted(1), "w:b": Wanted(1)})
        self.writer.send({"w:a": Wanted(2)})
        self.writer.answer()
        self.writer.answer()
        self.writer.send({"w:a": Wanted(3), "w:b": None})
        self.writer.send({"w:c": Wanted(4)})

    def verdict(self, image):
        return judge([self.writer.mark()], image)[0]

    def assert_violation(self, image, text):
        found = self.verdict(image)
        self.assertTrue(any(text in violation for violation in found), found)

    def test_steps_in_flight_are_there_or_not(self):
        self.assertEqual(self.verdict(image_of(w_a=(2, 0), w_b=(1, 0))), [])
        self.assertEqual(self.verdict(image_of(w_a=(3, 0))), [])
        self.assertEqual(self.verdict(image_of(w_a=(3, 0), w_c=(4, 0))), [])

    def test_acknowledged_key_missing_is_seen(self):
        self.assert_violation(image_of(w_b=(1, 0)), "w:a of step 2 is missing")

    def test_acknowledged_overwrite_missing_is_seen(self):
        self.assert_violation(image_of(w_a=(1, 0), w_b=(1, 0)), "w:a is of step 1 instead of 2")

    def test_batch_in_part_is_seen(self):
        self.assert_violation(image_of(w_a=(3, 0), w_b=(1, 0)), "none of these states")

    def test_step_before_one_that_is_there_is_missed(self):
        self.assert_violation(image_of(w_a=(2, 0), w_b=(1, 0), w_c=(4, 0)), "none of these states")

    def test_invented_keys_and_values_are_seen(self):
        self.assert_violation(image_of(w_a=(9, 0), w_b=(1, 0)), "w:a is of step 9")
        self.assert_violation(image_of(w_a=(2, 0), w_b=(1, 0), w_z=(1, 0)), "w:z is there")
        self.assert_violation(image_of(w_a=(2, 0), w_b=(1, 0), x_a=(1, 0)), "nobody's key")

    def test_torn_value_is_seen(self):
        image = image_of(w_a=(2, 0), w_b=(1, 0))
        image.keys["w:a"].health = "torn"
        self.assert_violation(image, "w:a is torn")

    def test_value_that_a_reader_saw_must_be_there(self):
        self.writer.seen = 3
        self.assert_violation(image_of(w_a=(2, 0), w_b=(1, 0)), "none of these states")
        self.assertEqual(self.verdict(image_of(w_a=(3, 0))), [])

    def test_step_that_failed_changes_nothing(self):
        self.writer.answer(failed=True)
        self.assertEqual(self.verdict(image_of(w_a=(2, 0), w_b=(1, 0), w_c=(4, 0))), [])
        self.assert_violation(image_of(w_a=(3, 0), w_b=(1, 0)), "w:a is of step 3")

    def test_outcome_learnt_after_the_image_counts(self):
        marks = [self.writer.mark()]
        self.writer.answer(failed=True)
        found, _ = judge(marks, image_of(w_a=(2, 0), w_b=(1, 0), w_c=(4, 0)))
        self.assertEqual(found, [])


class Full(unittest.TestCase):
    """Writer w, whose store may be full: step 1 puts a and b, answered. Step 2 puts a large a, step 3 a small c, step 4
    deletes b and puts d: their answers are lost in the cut."""

    def setUp(self):
        self.writer = Writer("w")
        self.writer.may_fail = True
        self.writer.send({"w:a": Wanted(1), "w:b": Wanted(1)})
        self.writer.answer()
        self.writer.send({"w:a": Wanted(2)})
        self.writer.send({"w:c": Wanted(3)})
        self.writer.send({"w:b": None, "w:d": Wanted(4)})

    def verdict(self, image):
        return judge([self.writer.mark()], image)[0]

    def assert_violation(self, image):
        self.assertIn("none of these states", self.verdict(image)[0])

    def test_step_whose_answer_was_lost_may_have_been_refused(self):
        image = image_of(w_a=(1, 0), w_b=(1, 0), w_c=(3, 0))
        found, states = judge([self.writer.mark()], image)
        self.assertEqual(found, [])
        self.assertEqual({key: wanted.version for key, wanted in states["w"].items()},
                         {"w:a": 1, "w:b": 1, "w:c": 3})
        self.assertEqual(self.verdict(image_of(w_a=(2, 0), w_d=(4, 0))), [])
        self.assertEqual(self.verdict(image_of(w_a=(2, 0), w_c=(3, 0), w_d=(4, 0))), [])
        self.writer.may_fail = False
        self.assert_violation(image)

    def test_what_was_acknowledged_must_be_there(self):
        self.assert_violation(image_of(w_b=(1, 0), w_c=(3, 0)))
        self.assert_violation(image_of(w_a=(2, 0), w_c=(3, 0)))
        self.writer.answer()
        self.assert_violation(image_of(w_a=(1, 0), w_b=(1, 0), w_c=(3, 0)))

    def test_batch_in_part_is_seen(self):
        self.assert_violation(image_of(w_a=(1, 0), w_b=(1, 0), w_d=(4, 0)))

    def test_step_known_to_have_succeeded_is_not_left_out(self):
        mark = self.writer.mark()
        self.writer.answer()
        image = image_of(w_a=(1, 0), w_b=(1, 0), w_c=(3, 0))
        self.assertIn("none of these states", judge([mark], image)[0][0])
        self.assertEqual(judge([mark], image_of(w_a=(1, 0), w_b=(1, 0)))[0], [])

    def test_step_that_a_reader_saw_was_not_refused(self):
        self.writer.seen = 2
        self.assert_violation(image_of(w_a=(1, 0), w_b=(1, 0), w_c=(3, 0)))
        self.assertEqual(self.verdict(image_of(w_a=(2, 0), w_b=(1, 0), w_c=(3, 0))), [])

    def test_step_that_left_only_absences_may_have_been_applied(self):
        self.writer.send({"w:d": Wanted(5), "w:c": None})
        self.assertEqual(self.verdict(image_of(w_a=(1, 0), w_d=(5, 0))), [])
        self.writer.send({"w:a": Wanted(6, expires_at=50.0)})
        self.assertEqual(self.verdict(image_of(w_d=(5, 0))), [])

    def test_many_unanswered_steps_are_judged_in_time(self):
        for number in range(5, 17):
            self.writer.send({"w:k%d" % number: Wanted(number)})
        self.assertEqual(self.verdict(image_of(w_a=(1, 0), w_b=(1, 0), w_k16=(16, 0))), [])
        self.assert_violation(image_of(w_b=(1, 0), w_k16=(16, 0)))


class Reads(unittest.TestCase):
    """What a reader may be told of a key that nobody is changing."""

    def test_quiet_key_is_known_and_a_changing_one_is_not(self):
        writer = Writer("w")
        self.assertEqual(writer.quiet("w:a"), (0, None))
        writer.send({"w:a": Wanted(1)})
        self.assertIsNone(writer.quiet("w:a"))
        writer.answer()
        self.assertEqual(writer.quiet("w:a"), (1, Wanted(1)))
        writer.send({"w:a": Wanted(2)})
        writer.answer(failed=True)
        self.assertEqual(writer.quiet("w:a"), (2, Wanted(1)))
        writer.restart({"w:a": Wanted(1)})
        self.assertEqual(writer.quiet("w:a"), (0, Wanted(1)))


class Expiry(unittest.TestCase):
    def setUp(self):
        self.writer = Writer("w")
        self.writer.send({"w:a": Wanted(1, expires_at=100.0)})
        self.writer.answer()

    def verdict(self, image):
        return judge([self.writer.mark()], image)[0]

    def test_key_may_be_gone_a_second_before_its_deadline_but_not_earlier(self):
        self.assertEqual(self.verdict(image_of(now=97.5)), [])
        self.assertIn("missing", self.verdict(image_of(now=90.0))[0])

    def test_key_keeps_its_deadline(self):
        self.assertEqual(self.verdict(image_of(now=50.0, w_a=(1, 7))), [])
        self.assertIn("deadline", self.verdict(image_of(now=50.0, w_a=(1, 0)))[0])

    def test_expired_key_that_is_back_is_seen(self):
        mark = self.writer.mark()
        self.writer.expired("w:a")
        self.assertEqual(judge([mark], image_of(now=110.0, w_a=(1, 7)))[0], [])
        self.assertIn("is back", self.verdict(image_of(now=110.0, w_a=(1, 7)))[0])
        self.assertEqual(self.verdict(image_of(now=110.0)), [])


class Contents(unittest.TestCase):
    def test_contents_cut_short_are_refused(self):
        text = "clock 5\nw:a 1 0 ok\nw:b 2 9 torn\nend 2\n"
        self.assertEqual(parse_contents(text, 1.0).keys["w:b"], Found(2, 9, "torn"))
        with self.assertRaises(ValueError):
            parse_contents(text.replace("end 2", ""), 1.0)
        with self.assertRaises(ValueError):
            parse_contents(text.replace("w:a 1 0 ok\n", ""), 1.0)


if __name__ == "__main__":
    unittest.main()
