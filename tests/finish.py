def finish(work):
    """What a generator returns, and what it yields before."""
    found = []

    def whole():
        found.append((yield from work))

    seen = list(whole())
    return found[0], seen
