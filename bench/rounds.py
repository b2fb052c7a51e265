"""Rounds: limit, ours, limit again, so that both meet the same machine; ratios round by round, then their median."""

import statistics

DRIFT_MAX = 0.15  # a limit that moves more than this between its two passes says nothing about what ran between them
TRIES = 3


class Round:
    """One round: two passes of the limit around one of ours (rates: more is better)."""

    def __init__(self, first, ours, second, tries):
        self.first, self.ours, self.second, self.tries = first, ours, second, tries

    @property
    def limit(self):
        return (self.first + self.second) / 2

    @property
    def drift(self):
        return abs(self.first - self.second) / self.limit

    @property
    def ratio(self):
        return self.ours / self.limit

    @property
    def steady(self):
        return self.drift <= DRIFT_MAX


def run_round(limit, ours):
    """A round whose limit held still, or after TRIES the last one."""
    for tries in range(1, TRIES + 1):
        done = Round(limit(), ours(), limit(), tries)
        if done.steady:
            break
    return done


def run(count, limit, ours):
    """@count rounds; @limit and @ours answer rates."""
    return [run_round(limit, ours) for _ in range(count)]


class Figure:
    """What a row comes to: a value with its spread, and the notes a reader needs."""

    def __init__(self, values, notes=(), ours=None, limit=None):
        self.values = list(values)
        self.value = statistics.median(self.values)
        self.low, self.high = min(self.values), max(self.values)
        self.notes = list(notes)
        self.ours, self.limit = ours, limit  # medians in words, with their units

    @classmethod
    def of_rounds(cls, rounds, unit, scale):
        """The ratios of rounds; rates are shown divided by @scale with @unit."""
        notes = []
        unsteady = sum(not r.steady for r in rounds)
        repeats = sum(r.tries - 1 for r in rounds)
        if repeats:
            notes.append(f"{repeats} rounds repeated because the limit drifted")
        if unsteady:
            notes.append(f"in {unsteady} of {len(rounds)} rounds the limit drifted over {DRIFT_MAX:.0%} to the end")
        show = lambda rates: f"{statistics.median(rates) / scale:,.4g} {unit}".replace(",", " ")
        figure = cls([r.ratio for r in rounds], notes, show([r.ours for r in rounds]), show([r.limit for r in rounds]))
        figure.steady = unsteady * 2 <= len(rounds)
        return figure

    steady = True


def verdict(figure, must, goal, more_is_better):
    """"goal", "must", "missed", or "unsteady" when the machine did not hold still for most of the rounds,
    "shown" where nothing is asked."""
    if must is None:
        return "shown"
    reaches = (lambda bound: figure.value >= bound) if more_is_better else (lambda bound: figure.value <= bound)
    if not figure.steady:
        return "unsteady"
    return "goal" if reaches(goal) else "must" if reaches(must) else "missed"
