"""Goal:   check_layers catches an include against the direction of docs/layers.txt, or past a door.
Method: the project's own rules over a tree of a few headers, with one wrong include planted at a time.
"""
import unittest

import planted


class Layers(planted.PlantedTest):
    tool = "check_layers"
    copied = ("docs/layers.txt",)
    files = {
        "base/include/faultline/status.h": "",
        "base/fail.h": "#include <faultline/status.h>\n",
        "storage/include/faultline/faultline.h": "#include <faultline/status.h>\n",
        "storage/persist/pm.h": '#include "base/fail.h"\n',
        "storage/nosync/dax.c": '#include <libpmem2.h>\n#include "storage/persist/pm.h"\n',
        "storage/log/log.h": '#include "storage/persist/pm.h"\n',
        "storage/index/index.h": '#include "base/fail.h"\n#include <xxhash.h>\n',
        "storage/engine/engine.h": '#include "storage/log/log.h"\n#include "storage/index/index.h"\n',
        "storage/engine/native.h": "",
        "storage/pmemobj/pmemobj.c": '#include <libpmemobj.h>\n#include "storage/engine/engine.h"\n',
        "storage/api/api.c": '#include "storage/engine/native.h"\n',
        "client/include/faultline/client.h": "#include <faultline/status.h>\n",
        "proto/resp.h": '#include "base/fail.h"\n',
        "server/ring_internal.h": '#include <liburing.h>\n#include <faultline/faultline.h>\n#include "proto/resp.h"\n',
        "tests/unit/test_log.c": '#include <cmocka.h>\n#include "storage/log/log.h"\n',
        "docs/examples/app.c": "#include <faultline/client.h>\n",
    }

    def test_rules_kept_finds_nothing(self):
        self.assert_clean({})

    def test_include_against_the_direction_is_caught(self):
        for path, header in (
            ("base/bad.c", "storage/persist/pm.h"),
            ("storage/persist/bad.h", "storage/log/log.h"),
            ("storage/index/bad.c", "storage/log/log.h"),
            ("storage/pmemobj/bad.c", "storage/engine/native.h"),
            ("storage/log/bad.c", "storage/engine/engine.h"),
            ("proto/bad.c", "storage/include/faultline/faultline.h"),
            ("server/bad.c", "storage/engine/engine.h"),
            ("bench/bad.c", "storage/log/log.h"),
            ("client/bad.c", "storage/include/faultline/faultline.h"),
            ("docs/examples/bad.c", "base/fail.h"),
        ):
            with self.subTest(path):
                self.assert_caught({path: f'\n#include "{header}"\n'}, f"{path}:2", header)

    def test_public_header_seeing_an_internal_one_is_caught(self):
        path = "storage/include/faultline/bad.h"
        self.assert_caught({path: '#include "base/fail.h"\n'}, path, "base/fail.h")

    def test_angle_brackets_do_not_hide_an_include(self):
        self.assert_caught({"base/bad.c": "# include <storage/log/log.h>\n"}, "base/bad.c:1", "log.h")

    def test_header_beside_the_file_is_found(self):
        self.assert_clean({"storage/log/scan.c": '#include "log.h"\n'})

    def test_package_past_its_door_is_caught(self):
        for path, header in (
            ("storage/nosync/page.h", "libpmem2.h"),
            ("server/loop.c", "liburing.h"),
            ("storage/engine/bad.c", "libpmemobj.h"),
            ("server/bad.c", "cmocka.h"),
        ):
            with self.subTest(path):
                self.assert_caught({path: f"#include <{header}>\n"}, f"{path}:1", header)

    def test_folder_without_a_layer_is_caught(self):
        self.assert_caught({"storage/new/a.c": '#include "base/fail.h"\n'}, "storage/new/a.c", "no layer")

    def test_missing_header_is_caught(self):
        self.assert_caught({"base/bad.c": '#include "base/gone.h"\n'}, "base/bad.c:1", "gone.h")

    def test_tree_without_sources_is_no_pass(self):
        self.files = {}
        self.assert_caught({}, "", "no source files")

    def test_rule_that_does_not_parse_is_an_error(self):
        self.assert_caught({"docs/layers.txt": "base sees nothing\n"}, "docs/layers.txt:1", "neither")


unittest.main()
