"""Goal:   check_tidy catches each thing that it is there for, and only that.
Method: a clean tree, then one fault planted at a time; beside each fault the nearest thing that is allowed.
"""
import unittest

import planted

FENCE = "int\nf(struct pm *pm)\n{\n    g();\n%s    return pm_drain(pm);\n}\n"


class Tidy(planted.PlantedTest):
    tool = "check_tidy"
    files = {
        "storage/log/log.c": FENCE % "    /* order: a before b. Because. */\n",
        "storage/persist/pm.c": "void\nfence(void)\n{\n    _mm_sfence();\n}\n",
        "tests/unit/log/test_log.c": "/* Goal:   a.\n * Method: b.\n */\n",
        "base/bytes.h": "/* A header. */\n",
    }

    def assert_function_of(self, count, caught):
        text = "void\nf(void)\n{\n" + "    g();\n" * (count - 4) + "}\n"
        if caught:
            self.assert_caught({"base/a.c": text}, "base/a.c:1:", f"{count} lines")
        else:
            self.assert_clean({"base/a.c": text})

    def test_clean_tree_finds_nothing(self):
        self.assert_clean({})

    def test_fence_without_order_is_caught(self):
        for above in ("", "    /* for safety */\n", "    /* order: x */\n    h();\n",
                      "    h(); /* order: x */\n", "    /* order: x */\n\n"):
            with self.subTest(above):
                self.assert_caught({"storage/engine/a.c": FENCE % above}, "storage/engine/a.c:", "pm_drain")

    def test_fence_in_a_longer_statement_has_its_comment_above_the_statement(self):
        text = "    /* order: x before y.\n     * Why. */\n    if (a &&\n        pm_drain_all(pm)) {\n    }\n"
        self.assert_clean({"storage/engine/a.c": FENCE.replace("    return pm_drain(pm);\n", "") % text})
        bare = "    if (a &&\n        pm_drain_all(pm)) {\n    }\n"
        self.assert_caught({"storage/engine/a.c": FENCE.replace("    return pm_drain(pm);\n", "") % bare},
                           "storage/engine/a.c:6", "pm_drain_all")

    def test_fence_named_in_a_comment_or_string_is_no_call(self):
        self.assert_clean({"storage/engine/a.c": '/* pm_drain(pm) */\nconst char *s = "pm_drain(pm)";\n'})

    def test_flush_instruction_outside_persist_is_caught(self):
        for line in ("_mm_sfence();", "_mm_clwb(p);", "_mm_stream_si128(p, v);", "_mm256_stream_si256(p, v);",
                     "__builtin_ia32_clflushopt(p);", '__asm__ volatile("clwb %0" : "+m"(*p));',
                     '__asm__("sfence" ::: "memory");', "__builtin_nontemporal_store(v, p);"):
            with self.subTest(line):
                text = "void\nf(void)\n{\n    " + line + "\n}\n"
                self.assert_caught({"storage/heap/a.c": text}, "storage/heap/a.c:4", "storage/persist")
                self.assert_clean({"storage/persist/a.c": text})

    def test_flush_instruction_in_a_comment_is_allowed(self):
        self.assert_clean({"storage/heap/a.c": "/* after the sfence, clwb */\nvoid *clwb_count;\n"})

    def test_function_over_its_size_is_caught(self):
        self.assert_function_of(70, caught=False)
        self.assert_function_of(71, caught=True)

    def test_file_over_its_size_is_caught(self):
        self.assert_clean({"base/a.h": "int a;\n" * 600})
        self.assert_caught({"base/a.h": "int a;\n" * 601}, "base/a.h:", "601 lines")

    def test_width_is_caught(self):
        self.assert_clean({"base/a.h": "/*" + "x" * 116 + "*/\n"})
        self.assert_caught({"base/a.h": "/*" + "x" * 117 + "*/\n"}, "base/a.h:1", "121 columns")

    def test_white_space_is_caught(self):
        for text, what in (("\tint a;\n", "a tab"), ("int a; \n", "spaces"), ("int a;\r\n", "carriage"),
                           ("int a;", "newline"), ("int a;\n\n", "newline")):
            with self.subTest(text):
                self.assert_caught({"base/a.h": text}, "base/a.h:", what)

    def test_fuzz_input_may_be_any_bytes(self):
        self.assert_clean({"tests/fuzz/resp/set": "*1\r\n\t"})

    def test_path_of_one_machine_is_caught(self):
        for path in ("/ho" "me/me/x", "/ro" "ot/x", "/wo" "rk/main", "/tmp/bui" "ld-x"):
            with self.subTest(path):
                self.assert_caught({"docs/a.md": f"see {path}\n"}, "docs/a.md:1", "one machine")
        self.assert_clean({"docs/a.md": "see docs/wo" "rk/x, /tmp, /ho" "me/nobody and /dev/shm\n"})

    def test_work_left_behind_is_caught(self):
        for word in ("TO" "DO", "FIX" "ME", "XX" "X"):
            with self.subTest(word):
                self.assert_caught({"base/a.h": f"/* {word}: later */\n"}, "base/a.h:1", "left behind")
        self.assert_clean({"base/a.sh": "mktemp -d fl.XX" "XXXX\n"})

    def test_test_without_goal_and_method_is_caught(self):
        for text in ("int a;\n", "/* Goal: x. */\n", "/* A test. */\n/* Goal: Method: */\n"):
            with self.subTest(text):
                self.assert_caught({"tests/unit/log/test_a.c": text}, "tests/unit/log/test_a.c:1", "Method")


unittest.main()
