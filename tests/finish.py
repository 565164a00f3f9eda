import itertools


def begin(work, events):
    """The first events of a work, which is then stopped."""
    found = list(itertools.islice(work, events))
    work.close()
    return found


def finish(work):
    """What a generator returns, and what it yields before."""
    found = []

    def whole():
        found.append((yield from work))

    seen = list(whole())
    return found[0], seen
