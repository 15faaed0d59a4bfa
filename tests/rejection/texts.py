"""Texts that a constraint takes."""


def follow(constraint, items, text):
    state = constraint.start()
    for at, ch in enumerate(text):
        state = constraint.step(state, items.index(ch))
        if state is None:
            return at
    return constraint.complete(state)


def words(constraint, items, longest):
    """All texts up to a length that the constraint calls whole."""
    found, pending = set(), [("", constraint.start())]
    while pending:
        text, state = pending.pop()
        if constraint.complete(state):
            found.add(text)
        if len(text) < longest:
            for i, item in enumerate(items):
                after = constraint.step(state, i)
                if after is not None:
                    pending.append((text + item, after))
    return found
