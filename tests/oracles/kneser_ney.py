"""Interpolated modified Kneser-Ney spelled with dictionaries and sets, one probability at a time.

Written from the formulas alone, to be slow and obvious; it shares no code with the package.
"""

from collections import Counter, defaultdict


class KneserNeyTwin:
    """Counts ``rows`` of (context of order - 1 ids, target)."""

    def __init__(self, rows, vocabulary_size, order):
        self.vocabulary_size = vocabulary_size
        occurrences = Counter((*context, target) for context, target in rows)
        # Every n-gram is the end of a full window, so each shorter one has something to its left.
        left_neighbours = [defaultdict(set) for _ in range(order)]
        for window in occurrences:
            for length in range(1, order):
                left_neighbours[length][window[-length:]].add(window[-length - 1])
        self.counts = {order: dict(occurrences)}
        for length in range(1, order):
            self.counts[length] = {gram: len(chars) for gram, chars in left_neighbours[length].items()}
        self.discounts = {length: discounts(counts.values()) for length, counts in self.counts.items()}
        self.followers = defaultdict(list)
        for length, counts in self.counts.items():
            for gram, count in counts.items():
                self.followers[length, gram[:-1]].append(count)

    def number_of_counts(self):
        return sum(len(counts) for counts in self.counts.values())

    def probability(self, context, target):
        context = tuple(context)
        length = len(context) + 1
        lower = self.probability(context[1:], target) if context else 1 / self.vocabulary_size
        following = self.followers.get((length, context))
        if following is None:
            return lower
        discount = self.discounts[length]
        count = self.counts[length].get((*context, target), 0)
        kept = count - discount[min(count, 3)] if count else 0
        given_away = sum(discount[min(other, 3)] for other in following)
        return (kept + given_away * lower) / sum(following)

    def row(self, context):
        return [self.probability(context, target) for target in range(self.vocabulary_size)]


def discounts(counts):
    """{1: D1, 2: D2, 3: D3+} from the counts of counts."""
    n = Counter(counts)
    if 0 in (n[1], n[2], n[3], n[4]):
        return {1: 0.5, 2: 1.0, 3: 1.5}
    y = n[1] / (n[1] + 2 * n[2])
    estimated = {i: i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)}
    if any(value <= 0 for value in estimated.values()):
        return {1: 0.5, 2: 1.0, 3: 1.5}
    return estimated
