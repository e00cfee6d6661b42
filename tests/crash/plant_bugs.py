#!/usr/bin/env python3
"""Copies of the storage's sources with bugs in them, switched on one at a time by number.

plant_bugs.py TOP OUT BUGS...

Each file of BUGS says, for a bug: its name, a workload that it shows in, what it is, and pieces of text of one source with
what stands there instead; FL_BUG in it is true while the bug is on. A piece that isn't found exactly once is an error:
the source has moved on, and the bug has to follow. Written to OUT: sources with bugs under their names, with slashes as
underscores, and bugs_table.c. With --list only the sources are named, one a line.
"""
import pathlib
import re
import sys


class Bug:
    def __init__(self, name, workload):
        self.name = name
        self.workload = workload
        self.what = ""
        self.file = ""
        self.pieces = []


def pieces_of(lines, place):
    """The text between <<<<, ==== and >>>>; `place` is where <<<< stands."""
    old, new, to = [], [], None
    for at in range(place, len(lines)):
        line = lines[at]
        if line == "<<<<":
            to = old
        elif line == "====":
            to = new
        elif line == ">>>>":
            return ("\n".join(old), "\n".join(new)), at
        else:
            to.append(line)
    sys.exit("a piece without an end")


def bugs_of(path):
    bugs = []
    lines = path.read_text().splitlines()
    at = 0
    while at < len(lines):
        word, _, rest = lines[at].partition(" ")
        if word == "bug":
            bugs.append(Bug(*rest.split()))
        elif word == "what":
            bugs[-1].what = rest
        elif word == "file":
            bugs[-1].file = rest
        elif word == "<<<<":
            piece, at = pieces_of(lines, at)
            bugs[-1].pieces.append(piece)
        elif lines[at].strip():
            sys.exit(f"{path}:{at + 1}: what is this?")
        at += 1
    return bugs


def pattern_of(text):
    """White space is no reason not to find it."""
    words = re.split(r"\s+", text.strip())
    return re.compile(r"\s+".join(re.escape(word) for word in words))


def planted(text, bug, number):
    for old, new in bug.pieces:
        # Behind another bug's switch the text may stand twice: the first is the one that was there.
        found = pattern_of(old).search(text)
        if not found:
            sys.exit(f"{bug.file}: the bug {bug.name} does not find its place:\n{old}")
        new = new.strip().replace("FL_BUG", f"(crash_bug_now == {number})")
        text = text[: found.start()] + new + text[found.end():]
    return text


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main():
    arguments = [a for a in sys.argv[1:] if a != "--list"]
    top, out = pathlib.Path(arguments[0]), pathlib.Path(arguments[1])
    bugs = [bug for path in arguments[2:] for bug in bugs_of(pathlib.Path(path))]
    files = sorted({bug.file for bug in bugs})
    if "--list" in sys.argv:
        print("\n".join(files))
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in files:
        text = (top / name).read_text()
        # Last first: a later bug's switch must not hide the place of an earlier one.
        for number, bug in reversed(list(enumerate(bugs, 1))):
            if bug.file == name:
                text = planted(text, bug, number)
        text = f'extern unsigned crash_bug_now;\n#line 1 "{name}"\n{text}'
        (out / name.replace("/", "_")).write_text(text)
    rows = "".join(
        f"    {{{quoted(b.name)}, {quoted(b.what)}, {quoted(b.workload)}}},\n" for b in bugs
    )
    (out / "bugs_table.c").write_text(
        '#include "tests/crash/bugs.h"\n\n#include <stddef.h>\n\n'
        f"const struct bug bugs[] = {{\n{rows}    {{NULL, NULL, NULL}},\n}};\n"
    )


if __name__ == "__main__":
    main()
