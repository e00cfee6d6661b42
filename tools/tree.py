"""The files of the source tree, for the lint tools beside this one."""
import os

# Folders at the top that hold files of ours; everything else at the top (build, data) is not source.
PARTS = (".ci", "base", "bench", "client", "cmake", "docs", "proto", "server", "storage", "tests", "tools")
SKIPPED = {"node_modules", "__pycache__", "golden", "corpus"}
TEXT_SUFFIXES = (".c", ".h", ".def", ".txt", ".md", ".cmake", ".in", ".py", ".sh", ".js", ".mjs", ".json", "")


def files(root, suffixes=TEXT_SUFFIXES):
    """Paths from `root`, sorted, of the files whose name ends so. "" is a name without a dot: a script at the
    top or in tools, an input of a fuzz target (any bytes) under tests."""
    found = []
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if os.path.isfile(path) and not name.startswith(".git"):
            found.append(name)
        elif os.path.isdir(path) and name in PARTS:
            for folder, folders, names in os.walk(path):
                folders[:] = [f for f in folders if f not in SKIPPED]
                found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(p for p in found if os.path.splitext(os.path.basename(p))[1] in suffixes
                  and not (p.startswith("tests/") and "." not in os.path.basename(p)))


def lines(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace", newline="") as file:
        return file.read().split("\n")


def under(path, place):
    """Whether `path` is `place` or lies in that folder."""
    return place == "*" or path == place or path.startswith(place + "/")


def report(problems):
    """Print what was found, one a line, and return the exit code."""
    for problem in problems:
        print(problem)
    return 1 if problems else 0
