"""Scripts of commands, read from text.

A line is one command, its arguments separated by blanks; "..." may hold blanks and the escapes
\\n \\r \\t \\" \\\\ \\xHH; {c*N} stands for N times the character c. An empty line ends a case: the next one
begins with no keys and new connections. # begins a comment line. In front of a command there may be

    2>            send it on the second connection (any digit)
    @sorted       the reply's elements come in any order, at every level
    @near:N       integers (and bulk strings that are integers) may differ by N
    @shape        only the kinds of the elements are compared, not what is in them
    @scan ARGS    a whole iteration of SCAN with ARGS: the sets of keys are compared
    @wait N       no command: wait N milliseconds
    @differs:ID   Faultline's reply is another, for the reason called ID in differences.txt; the next
                  line says what it must be: "= " and the reply with blanks for line ends; and, where RESP3
                  has another, one more line: "=3 " and that
"""

import re

ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", '"': b'"', "\\": b"\\"}
REPEAT = re.compile(r"\{(.)\*(\d+)\}")


class Line:
    def __init__(self, args, where):
        self.args = args
        self.where = where
        self.connection = 1
        self.mode = "exact"
        self.limit = 0
        self.differs = None
        self.expected = {}

    def text(self):
        words = [repr(a)[1:] if len(a) <= 60 else "%r... (%d bytes)" % (a[:20], len(a)) for a in self.args]
        return " ".join(words)


def split(text):
    """The arguments of a line as bytes."""
    args = []
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        arg = b""
        quoted = text[at] == '"'
        at += quoted
        while at < len(text) and (text[at] != '"' if quoted else text[at] != " "):
            repeat = REPEAT.match(text, at)
            if repeat:
                arg += repeat.group(1).encode() * int(repeat.group(2))
                at = repeat.end()
            elif quoted and text[at] == "\\" and text[at + 1] == "x":
                arg += bytes([int(text[at + 2 : at + 4], 16)])
                at += 4
            elif text[at] == "\\" and text[at + 1 : at + 2] in ESCAPES:
                arg += ESCAPES[text[at + 1]]
                at += 2
            else:
                arg += text[at].encode()
                at += 1
        at += quoted
        args.append(arg)
    return args


def _line(text, where):
    line = Line(None, where)
    while True:
        word, _, rest = text.partition(" ")
        if re.fullmatch(r"\d>", word):
            line.connection = int(word[0])
        elif word in ("@sorted", "@shape", "@scan", "@wait"):
            line.mode = word[1:]
        elif word.startswith("@near:"):
            line.mode, line.limit = "near", int(word[6:])
        elif word.startswith("@differs:"):
            line.differs = word[9:]
        elif word.startswith("@"):
            raise ValueError("%s: unknown mark %s" % (where, word))
        else:
            line.args = split(text)
            return line
        text = rest


def read(path):
    """The cases of a file: lists of lines."""
    cases = [[]]
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            text = text.rstrip("\n")
            where = "%s:%d" % (path.rsplit("/", 1)[-1], number)
            if text == "":
                if cases[-1]:
                    cases.append([])
            elif text.startswith("= "):
                cases[-1][-1].expected[2] = text[2:]
            elif text.startswith("=3 "):
                cases[-1][-1].expected[3] = text[3:]
            elif not text.startswith("#"):
                cases[-1].append(_line(text, where))
    return [case for case in cases if case]
