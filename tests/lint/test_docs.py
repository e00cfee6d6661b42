#!/usr/bin/env python3
"""Goal:   what docs/ say of the programs is what the programs do: test_docs.py SERVER CLI CHECK MODELFS
Method: flags and help texts against --help; commands against proto/commands.def and COMMAND LIST; the fields of INFO
        faultline, which options are live, the example configuration and the examples in commands.md against a running
        server; relative links against the tree. `--write` in front of the programs writes the generated parts anew.
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "compat"))
import servers

PROMPT = "127.0.0.1:6379> "
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def part(text, name):
    """What stands between `<!-- name: ... -->` and the next `<!-- end -->`."""
    match = re.search(r"<!-- " + name + r" -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert match is not None, "no part '%s'" % name
    return match[1]


def flags_of_help(text):
    """[(flag, value, meaning)]: a flag stands alone in its line if it is long."""
    found = re.findall(r'^  (--[a-z-]+)(?: ("[^"]*"|\S+))?(?:\n| ) +(\S.*)$', text, re.MULTILINE)
    return [(flag, value, meaning) for flag, value, meaning in found]


def flags_table():
    rows = ["| flag | |", "|---|---|"]
    for flag, value, meaning in flags_of_help(output(SERVER, "--help")):
        shown = (flag + " " + value).strip().replace("|", "\\|")
        rows.append("| `%s` | %s |" % (shown, meaning))
    return "\n".join(rows) + "\n"


def help_block(program):
    return "```text\n" + output(program, "--help") + "```\n"


def generated():
    """(file, part, its text)."""
    return [
        ("docs/server.md", "flags: from faultline-server --help", flags_table()),
        ("docs/cli.md", "help: faultline-cli", help_block(CLI)),
        ("docs/cli.md", "help: faultline-check", help_block(CHECK)),
        ("docs/modelfs.md", "help: faultline-modelfs", help_block(MODELFS)),
    ]


def write():
    for path, name, text in generated():
        old = read(path)
        new = old.replace("<!-- %s -->\n%s<!-- end -->" % (name, part(old, name)),
                          "<!-- %s -->\n%s<!-- end -->" % (name, text))
        with open(os.path.join(ROOT, path), "w", encoding="utf-8") as file:
            file.write(new)


def documented_commands():
    """Names in lower case, subcommands as "client|id"; a list item begins with its command."""
    names = []
    text = read("docs/commands.md").split("## Differences")[0]
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        item = item.split("\n\n")[0]
        command = re.match(r"`([A-Z.]+)([^`]*)`(:?)", item)
        names.append(command[1].lower())
        if command[2] == "" and command[3] == ":" and command[1] in CONTAINERS:
            subcommands = re.findall(r"`([A-Z-]+)[^`]*`", item[command.end():])
            names += [command[1].lower() + "|" + word.lower() for word in subcommands if word != "REWRITE"]
    return names


class Texts(unittest.TestCase):
    maxDiff = None

    def test_generated_parts_are_up_to_date(self):
        for path, name, text in generated():
            self.assertEqual(part(read(path), name), text, "%s: run %s --write ..." % (path, __file__))

    def test_flags_are_all_found_in_help(self):
        text = output(SERVER, "--help")
        named = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
        self.assertEqual([flag for flag, _, _ in flags_of_help(text)], named)
        self.assertGreater(len(named), 20)

    def test_each_command_of_the_table_is_documented_and_no_other(self):
        table = re.findall(r'^COMMAND\(\w+, "([^"]+)"', read("proto/commands.def"), re.MULTILINE)
        documented = [name for name in documented_commands() if "|" not in name]
        self.assertEqual(len(documented), len(set(documented)))
        self.assertEqual(sorted(documented), sorted(table))

    def test_each_difference_is_documented(self):
        lines = read("tests/compat/differences.txt").split("\n")
        known = [line.split()[0] for line in lines if line and not line.startswith("#")]
        self.assertEqual(re.findall(r"^- \*\*([a-z-]+)\*\*", read("docs/commands.md"), re.MULTILINE), known)

    def test_links_lead_somewhere(self):
        for folder in ("", "docs", "docs/formats"):
            for name in os.listdir(os.path.join(ROOT, folder)):
                if name.endswith(".md"):
                    path = os.path.join(folder, name)
                    for target in LINK.findall(read(path)):
                        place = os.path.join(ROOT, folder, target)
                        self.assertTrue(os.path.exists(place), "%s: %s" % (path, target))

    def test_lines_are_at_most_120_columns(self):
        for name in ("README.md", "CHANGELOG.md", "docs/server.md", "docs/cli.md", "docs/commands.md",
                     "docs/embedding.md", "docs/durability.md", "docs/modelfs.md", "docs/examples/faultline.conf"):
            for number, line in enumerate(read(name).split("\n"), 1):
                if not line.startswith("| `--"):
                    self.assertLessEqual(len(line), 120, "%s:%d" % (name, number))


class Served(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.server = servers.faultline(SERVER)
        self.db = self.server.connect()

    def tearDown(self):
        self.db.close()
        self.server.stop()

    def config(self, db):
        flat = [bytes(word).decode() for word in db.call("CONFIG", "GET", "*")]
        return dict(zip(flat[::2], flat[1::2]))

    def test_each_served_command_is_documented_and_no_other(self):
        served = sorted(bytes(name).decode() for name in self.db.call("COMMAND", "LIST"))
        self.assertEqual(sorted(documented_commands()), served)

    def test_each_field_of_info_faultline_is_documented_and_no_other(self):
        lines = bytes(self.db.call("INFO", "faultline")).decode().split("\r\n")
        fields = [line.split(":")[0] for line in lines if ":" in line]
        table = read("docs/server.md").split("### INFO faultline")[1].split("\n## ")[0]
        self.assertEqual(re.findall(r"^\| `(\w+)`", table, re.MULTILINE), fields)

    def test_options_that_are_live_are_those_named(self):
        flags = [flag[2:] for flag, value, _ in flags_of_help(output(SERVER, "--help")) if value != ""]
        live = []
        for name in flags:
            reply = self.db.call("CONFIG", "SET", name, "neither this nor that")
            if b"immutable" not in bytes(reply):
                live.append(name)
        named = re.findall(r"`([a-z-]+)`", part(read("docs/server.md"), "live options: CONFIG SET"))
        self.assertEqual(sorted(named), sorted(live))

    def test_example_configuration_has_every_option_at_its_default(self):
        text = read("docs/examples/faultline.conf")
        flags = [flag[2:] for flag, value, _ in flags_of_help(output(SERVER, "--help")) if value != ""]
        set_here = re.findall(r"^#?([a-z-]+)[ =]", text, re.MULTILINE)
        self.assertEqual(sorted(set_here + ["config"]), sorted(flags))
        self.with_file(text, lambda found, plain: self.assertEqual(found, plain))

    def test_example_configuration_is_understood_with_all_options_in_use(self):
        text = re.sub(r"^#(?=[a-z])", "", read("docs/examples/faultline.conf"), flags=re.MULTILINE)
        self.with_file(text, lambda found, plain: self.assertEqual(found, plain))

    def with_file(self, text, check):
        """Start with `text` as the file; `check` gets CONFIG GET of that server and of one without a file."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "faultline.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            # Flags win over the file: nothing outside the folder is touched, and connecting takes no password.
            extra = ["--config", path, "--unixsocket", os.path.join(folder, "socket"), "--requirepass", ""]
            with servers.faultline(SERVER, extra=extra) as server:
                db = server.connect()
                found = self.config(db)
                db.close()
        plain = self.config(self.db)
        for name in ("config", "port", "store", "unixsocket", "dir"):
            found.pop(name)
            plain.pop(name)
        check(found, plain)

    def test_examples_answer_as_shown(self):
        blocks = re.findall(r"```console\n(.*?)```", read("docs/commands.md"), re.DOTALL)
        shown = 0
        for example in "".join(blocks).split(PROMPT)[1:]:
            command, reply = example.split("\n", 1)
            got = subprocess.run([CLI, "-p", str(self.server.port), "--no-raw"], input=command + "\n", timeout=20,
                                 capture_output=True, text=True, check=True).stdout
            self.assertEqual(got, reply, command)
            shown += 1
        self.assertGreater(shown, 3)


CONTAINERS = ("CLIENT", "COMMAND", "CONFIG", "MEMORY", "OBJECT")

if __name__ == "__main__":
    arguments = sys.argv[1:]
    writing = arguments[:1] == ["--write"]
    SERVER, CLI, CHECK, MODELFS = arguments[writing:writing + 4]
    if writing:
        write()
    else:
        unittest.main(argv=sys.argv[:1], verbosity=0)
