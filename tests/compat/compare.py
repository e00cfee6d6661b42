"""Comparing two replies: exactly, or as a case's mark allows."""

from resp import Error, Status

KINDS = {int: "integer", type(None): "null", bytes: "bulk", Status: "status", Error: "error", list: "array"}


def _canonical(value):
    """The same for two replies that differ only in the order of elements."""
    if isinstance(value, list):
        return ("array", tuple(sorted((_canonical(item) for item in value), key=repr)))
    return (KINDS[type(value)], value)


def _integer(value):
    if isinstance(value, int):
        return value
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _near(a, b, limit):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_near(x, y, limit) for x, y in zip(a, b))
    if type(a) is not type(b):
        return False
    if a == b:
        return True
    a, b = _integer(a), _integer(b)
    return a is not None and b is not None and abs(a - b) <= limit


def _shape(value):
    """The kind, and of an array the kinds that occur in it."""
    if isinstance(value, list):
        return {KINDS[type(item)] for item in value}
    return KINDS[type(value)]


def same(reference, subject, mode="exact", limit=0):
    """Whether two replies, each a pair of raw bytes and value, are the same in the way asked for."""
    if mode == "exact":
        return reference[0] == subject[0]
    if reference[0][:1] != subject[0][:1]:
        return False
    if mode == "sorted":
        return _canonical(reference[1]) == _canonical(subject[1])
    if mode == "near":
        return _near(reference[1], subject[1], limit)
    if mode == "shape":
        return _shape(reference[1]) == _shape(subject[1])
    raise ValueError("unknown mode " + mode)
