"""From the rounds of a server to what a table shows: medians, spreads, ratios, ranks. Takes and returns values."""

import statistics

from servers import SERVERS

# key: (heading, digits, whether less is better)
FIGURES = {
    "cpu": ("CPU µs/request", 1, True),
    "instructions": ("instructions/request", 0, True),
    "ratio": ("× floor", 2, True),
    "rate": ("requests/s", 0, False),
    "p50": ("p50 ms", 2, True),
    "p99": ("p99 ms", 2, True),
    "max": ("max ms", 1, True),
    "slow_p99": ("p99 of the slow ones, ms", 1, True),
    "retried": ("asked again", 0, True),
    "late_p99": ("the load's own lateness, p99 ms", 2, True),
    "pss": ("PSS MiB", 1, True),
    "processes": ("processes", 0, True),
    "ready": ("ready after ms", 1, True),
    "kept": ("kept", 0, False),
    "kib_each": ("KiB each", 2, True),
    "cpu_alone": ("alone", 1, True),
    "cpu_ratio": ("× alone", 2, True),
    "rate_alone": ("requests/s alone", 0, False),
    "rate_ratio": ("requests/s × alone", 2, False),
}


# With fewer there is no spread to speak of.
ROUNDS_FOR_A_SPREAD = 3


class Row:
    """What one server did in one variant of a workload."""

    def __init__(self, server, rounds, floor_rounds):
        self.server = server
        self.rounds = [one for one in rounds if "refused" not in one]
        self.refused = next((one["refused"] for one in rounds if "refused" in one), None)
        self.shape = rounds[0]["shape"] if rounds else ""
        self.errors = sum(one.get("errors") or 0 for one in self.rounds)
        self.ratios = [
            mine["cpu"] / its["cpu"]
            for mine, its in zip(rounds, floor_rounds)
            if mine.get("cpu") and its.get("cpu")
        ]
        self.differences = [
            mine["cpu"] - its["cpu"] for mine, its in zip(rounds, floor_rounds) if mine.get("cpu") and its.get("cpu")
        ]

    @property
    def label(self):
        return SERVERS[self.server].label

    @property
    def is_yardstick(self):
        return SERVERS[self.server].yardstick

    @property
    def is_ours(self):
        return self.server in ("rwsgi", "rwsgi-gthread") or self.server.startswith("nginx-rwsgi")

    @property
    def is_ranked(self):
        return bool(self.rounds) and not self.errors and not self.is_yardstick and not self.trouble

    @property
    def trouble(self):
        """Why it has no place in the ranking, if that is so."""
        if self.refused:
            return self.refused
        if self.errors:
            return f"{self.errors} errors"
        if any(one.get("rate") == 0 for one in self.rounds):
            return "answers nobody"
        if any(one.get("kept") is not None and one.get("kib_each") is None for one in self.rounds):
            return f"keeps {min(one['kept'] for one in self.rounds)} connections"
        return None

    def values(self, key):
        if key == "ratio":
            return self.ratios
        return [one[key] for one in self.rounds if one.get(key) is not None]

    def median(self, key):
        values = self.values(key)
        return statistics.median(values) if values else None

    def spread(self, key):
        values = self.values(key)
        return (min(values), max(values)) if values else None


def rows_of(results, variant):
    """The rows of a variant, in the order of the workload."""
    found = results["variants"].get(variant, {})
    floor = found.get("floor", [])
    return [Row(server, rounds, floor) for server, rounds in found.items() if rounds]


def row(all_results, workload, server, variant=None):
    """One row, if it was measured and is sound."""
    results = all_results.get(workload)
    if not results:
        return None
    variant = next(iter(results["variants"])) if variant is None else variant
    found = [one for one in rows_of(results, variant) if one.server == server]
    return found[0] if found and found[0].rounds and not found[0].refused else None


def median(all_results, workload, server, key, variant=None):
    found = row(all_results, workload, server, variant)
    return found.median(key) if found else None


def ahead(rows, key):
    """(peer, ours, is beyond the spread) for each peer whose median is better than rwsgi's best."""
    less_is_better = FIGURES[key][2]
    ranked = [one for one in rows if one.is_ranked and one.median(key) is not None]
    ours = [one for one in ranked if one.is_ours]
    if not ours:
        return []

    def is_better(a, b):
        return a < b if less_is_better else a > b

    best = (min if less_is_better else max)(ours, key=lambda one: one.median(key))
    peers = [one for one in ranked if not one.is_ours and is_better(one.median(key), best.median(key))]
    beyond = [
        one.spread(key)[1] < best.spread(key)[0] if less_is_better else one.spread(key)[0] > best.spread(key)[1]
        for one in peers
    ]
    found = [(one, best, far) for one, far in zip(peers, beyond)]
    return sorted(found, key=lambda each: each[0].median(key), reverse=not less_is_better)


def shown(key, value):
    if value is None:
        return "–"
    # Three telling digits: 5.13 µs, 45.3 µs, 146 µs.
    digits = FIGURES[key][1] + (abs(value) < 10 and key.startswith("cpu"))
    return f"{value:,.{digits}f}".replace(",", " ")
