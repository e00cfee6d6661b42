"""What clients have sent and what was acknowledged to them, and what a store may hold after a power cut.

Each writer has keys of its own and sends steps, numbered from 1; a step changes some of its keys at once. A value names
the step that wrote it. Commits of one connection are made in their order, so a store after a cut must hold, for each
writer, the state after some number of its steps: no fewer than were acknowledged to it, no fewer than any client
has seen through a read, no more than were sent. Anything else is a violation: a step missing, a batch in part, a
value torn or of nobody's writing, an expired key that is back, a key gone before its time. Where the store may be
full, a step whose answer was lost in the cut may have been refused, and a smaller one behind it not.
"""

import dataclasses
import re
import time

# A deadline may come so much early after a crash (docs/durability.md), and two clocks tell it.
EARLY_S = 1.0
CLOCKS_S = 2.0


class Clock:
    """Seconds in which the machine ran: time spent paused doesn't count."""

    def __init__(self):
        self._lost = 0.0
        self._paused_at = None

    def now(self):
        return (self._paused_at or time.monotonic()) - self._lost

    def pause(self):
        self._paused_at = time.monotonic()

    def resume(self):
        self._lost += time.monotonic() - self._paused_at
        self._paused_at = None

    def restart(self):
        """The machine was booted and has read the time: it isn't behind any more, so that times noted before now
        may come earlier than they would have, but not earlier than noted."""
        self._lost = 0.0
        self._paused_at = None


@dataclasses.dataclass
class Wanted:
    """A key's value: the step that wrote it, and when it expires, at the earliest and by the clock of the ledger."""
    version: int
    expires_at: float = 0.0  # 0: never
    gone: bool = False       # somebody was told that it has expired


@dataclasses.dataclass
class Step:
    number: int
    changes: dict            # key: Wanted, or None where it is deleted
    reads: tuple = ()        # keys that are read
    failed: bool | None = None  # answered with an error: it has changed nothing; None: not answered


def apply(state, step):
    if step.failed:
        return
    for key, wanted in step.changes.items():
        if wanted is None:
            state.pop(key, None)
        else:
            state[key] = wanted


class Writer:
    """One writer's steps. `state` is after those that were answered, `waiting` are those that were not."""

    def __init__(self, name):
        self.name = name
        self.sent = 0
        self.answered = 0
        self.failed = 0
        self.seen = 0        # every step up to this was shown to somebody
        self.state = {}
        self.waiting = []
        self.may_fail = False  # a step may be refused for want of space
        self.last = {}       # key: the last step that was sent to change it

    def send(self, changes, reads=()):
        self.sent += 1
        self.last.update(dict.fromkeys(changes, self.sent))
        step = Step(self.sent, changes, reads)
        self.waiting.append(step)
        return step

    def answer(self, failed=False):
        step = self.waiting.pop(0)
        step.failed = failed
        self.failed += failed
        apply(self.state, step)
        self.answered = step.number
        return step

    def quiet(self, key):
        """(the last step that was to change `key`, what it must show), or None while such a step is unanswered."""
        last = self.last.get(key, 0)
        return (last, self.state.get(key)) if last <= self.answered else None

    def mark(self):
        """What is known of it now, for a judgement later. What steps in flight come to is still to be learnt."""
        return Mark(self.name, self.seen, self.answered,
                    dict(self.state), list(self.waiting), self.may_fail)

    def expired(self, key):
        """Somebody was told that `key` is not there any more, because its deadline has passed."""
        if key in self.state:
            self.state[key] = dataclasses.replace(self.state[key], gone=True)

    def restart(self, state):
        """After a cut: what was found is what there is, and nothing is in flight."""
        self.state = state
        self.waiting = []
        self.last = {}
        self.failed = 0
        self.answered = self.sent
        self.seen = 0


@dataclasses.dataclass
class Mark:
    name: str
    seen: int
    answered: int
    state: dict
    waiting: list
    may_fail: bool = False

    def states(self, versions=frozenset()):
        """(number of steps, state) of every state that is allowed by the order of steps and can hold `versions`."""
        return self._states_from(0, self.answered, self.state, versions)

    def _states_from(self, at, number, state, versions):
        """After the first `at` of those waiting, which end with `number` and have led to `state`."""
        if number >= self.seen:
            yield number, state
        if at == len(self.waiting):
            return
        step = self.waiting[at]
        shown = step.number in versions or step.number == self.seen
        unknown = self.may_fail and step.failed is None
        if unknown and not shown:
            yield from self._states_from(at + 1, step.number, state, versions)
        if not unknown or shown or self._may_be_hidden(at):
            state = dict(state)
            apply(state, step)
            yield from self._states_from(at + 1, step.number, state, versions)

    def _may_be_hidden(self, at):
        """Whether a step may have changed something though no value of it is found."""
        later = {key for step in self.waiting[at + 1:] for key in step.changes}
        return all(wanted is None or wanted.expires_at or key in later
                   for key, wanted in self.waiting[at].changes.items())


@dataclasses.dataclass
class Found:
    """A key of an image."""
    version: int
    deadline_ms: int
    health: str              # ok, torn, differs


@dataclasses.dataclass
class Image:
    """What an image holds, and until when a deadline may have passed in it, by the clock of the ledger."""
    keys: dict
    now: float


def parse_contents(text, now):
    """The output of guest/contents.c. ValueError: it is not whole."""
    keys = {}
    for key, version, deadline, health in re.findall(r"^(\S+) (\d+) (\d+) (ok|torn|differs)$", text,
                                                     re.MULTILINE):
        keys[key] = Found(int(version), int(deadline), health)
    end = re.search(r"^end (\d+)$", text, re.MULTILINE)
    if end is None or int(end.group(1)) != len(keys):
        raise ValueError("the contents are not whole")
    return Image(keys, now)


def difference(state, image, keys):
    """The first thing that is wrong if `state` is what the image's `keys` should show, or None."""
    for key in sorted(keys | state.keys()):
        wanted, found = state.get(key), image.keys.get(key)
        if wanted is None:
            if found is not None:
                return "%s is there, of step %d, but should not be" % (key, found.version)
        elif found is None:
            if wanted.expires_at == 0 or wanted.expires_at > image.now + EARLY_S + CLOCKS_S:
                return "%s of step %d is missing" % (key, wanted.version)
        elif found.version != wanted.version:
            return "%s is of step %d instead of %d" % (key, found.version, wanted.version)
        elif (found.deadline_ms != 0) != (wanted.expires_at != 0):
            return "%s of step %d has the deadline %d" % (key, found.version, found.deadline_ms)
        elif wanted.gone:
            return "%s of step %d had expired and is back" % (key, found.version)
    return None


def judge(marks, image):
    """(violations, {writer: state that was found}) of an image against what was known when it was taken."""
    violations = ["%s is %s" % (key, found.health) for key, found in image.keys.items()
                  if found.health != "ok"]
    owned = {mark.name: set() for mark in marks}
    for key in image.keys:
        owner = key.partition(":")[0]
        if owner in owned:
            owned[owner].add(key)
        else:
            violations.append("%s is nobody's key" % key)
    states = {}
    for mark in marks:
        first = None
        versions = {image.keys[key].version for key in owned[mark.name]}
        for steps, state in mark.states(versions):
            wrong = difference(state, image, owned[mark.name])
            if wrong is None:
                states[mark.name] = {key: wanted for key, wanted in state.items()
                                     if key in image.keys}
                break
            first = first or "%s, with %d steps: %s" % (mark.name, steps, wrong)
        else:
            last = mark.waiting[-1].number if mark.waiting else mark.answered
            violations.append("%s (%d answered, %d seen, %d sent: none of these states)"
                              % (first or mark.name, mark.answered, mark.seen, last))
    return violations, states
