"""What rwsgi set out to reach, and whether it did: each goal is a function of all results that gives rows of
(goal, figure, met), `met` being None where it was not measured or noise hides it."""

import statistics

from figures import ROUNDS_FOR_A_SPREAD, ahead, median, row, rows_of, shown

OURS = (("rwsgi", "sync"), ("rwsgi-gthread", "gthread"))


def goals(results):
    for goal in (hello, own_cost, first_around_django, computing, headers, connections, access_log, bodies, dribble,
                 slow, idle, memory, start):
        yield from goal(results)


def at_most(words, limit, value, digits=2, unit=""):
    if value is None:
        return words, "not measured", None
    return words, f"{value:.{digits}f}{unit}", value <= limit


def hello(results):
    for workload, server, limit, words in (
        ("hello", "rwsgi", 1.20, "hello, connections kept, sync 1 × 1: at most 1.20 × the floor's CPU"),
        ("hello-close", "rwsgi", 1.10, "hello, a connection a request, sync 1 × 1: at most 1.10 × the floor's CPU"),
        ("hello", "rwsgi-gthread", 1.25, "hello, connections kept, gthread 1 × 4: at most 1.25 × the floor's CPU"),
    ):
        yield at_most(words, limit, median(results, workload, server, "ratio"), unit=" ×")


def own_cost(results):
    """The difference of two large figures, by CPU time and by instructions. Where the rounds' own differences spread over
    more than the limit, nothing is said of it by CPU time."""
    yield from own_time(results)
    yield from own_instructions(results)


def own_instructions(results):
    """An instruction takes what one of the floor takes around the same application."""
    for workload, name in (("flask", "Flask"), ("django", "Django")):
        for (server, kind), limit in zip(OURS, (3, 6)):
            words = f"{name}, {kind}: at most {limit} µs a request above the floor's, by instructions"
            mine, its = (median(results, "instructions", one, "instructions", name) for one in (server, "floor"))
            cpu = median(results, workload, "floor", "cpu")
            if None in (mine, its, cpu):
                yield words, "not measured", None
                continue
            own = (mine - its) * cpu / its
            yield words, f"{mine - its:+,.0f} instructions: {own:+.1f} µs".replace(",", " "), own <= limit


def own_time(results):
    for workload, name in (("flask", "Flask"), ("django", "Django, 4 processes")):
        for (server, kind), limit in zip(OURS, (3, 6)):
            words = f"{name}, {kind}: at most {limit} µs of CPU a request above the floor's"
            found = row(results, workload, server)
            if not found or not found.differences:
                yield words, "not measured", None
                continue
            differences = sorted(found.differences)
            figure = f"{statistics.median(differences):+.1f} µs ({differences[0]:+.1f} to {differences[-1]:+.1f})"
            if len(differences) < ROUNDS_FOR_A_SPREAD:
                yield words, figure + ", too few rounds", None
            elif differences[0] <= limit < differences[-1]:
                yield words, figure + ", hidden by noise", None
            else:
                yield words, figure, differences[-1] <= limit


def first_around_django(results):
    for workload, words in (("django", "Django direct"), ("django-nginx", "Django behind nginx"), ("flask", "Flask")):
        words += ": first of all servers in requests/s, beyond the spread"
        if workload not in results:
            yield words, "not measured", None
            continue
        rows = [one for one in rows_of(results[workload], "") if one.is_ranked and one.median("rate")]
        ours = [one for one in rows if one.is_ours]
        peers = [one for one in rows if not one.is_ours]
        if not ours or not peers:
            yield words, "not measured", None
            continue
        best = max(ours, key=lambda one: one.median("rate"))
        next_best = max(peers, key=lambda one: one.median("rate"))
        figure = f"{told(best, 'rate')}; {told(next_best, 'rate')} requests/s"
        if len(best.rounds) < ROUNDS_FOR_A_SPREAD:
            yield words, figure + ", too few rounds", None
        else:
            yield words, figure, best.spread("rate")[0] > next_best.spread("rate")[1]


def told(one, key):
    low, high = one.spread(key)
    return f"{one.label} {shown(key, one.median(key))} ({shown(key, low)} to {shown(key, high)})"


def computing(results):
    one, four = (median(results, "computing", "rwsgi-gthread", "p99", f"{n} thread{'s' * (n > 1)}") for n in (1, 4))
    words = "p99 of a 1 ms computing page, 8 connections: with 4 threads at most 1.5 × that with 1"
    yield at_most(words, 1.5, four / one if one and four else None, unit=" ×")


def headers(results):
    for server, kind in OURS:
        few, many = (median(results, "headers", server, "cpu", f"{count} fields") for count in (5, 60))
        words = f"each further header field, {kind}: at most 0.18 µs"
        yield at_most(words, 0.18, (many - few) / 55 if few and many else None, 3, " µs")


def connections(results):
    for server, kind in OURS:
        few, many = (median(results, "connections", server, "cpu", f"{count} connections") for count in (10, 1000))
        words = f"CPU per request at 1000 connections, {kind}: at most 1.25 × that at 10"
        yield at_most(words, 1.25, many / few if few and many else None, unit=" ×")


def access_log(results):
    for server, kind in OURS:
        off, on = (median(results, "access-log", server, "cpu", variant) for variant in ("off", "on"))
        words = f"access log, {kind}: at most 10 % more CPU"
        yield at_most(words, 10, (on / off - 1) * 100 if off and on else None, 1, " %")


def bodies(results):
    for workload, name in (("mebibyte", "1 MiB body"), ("chunks", "100 chunks"), ("upload", "1 MiB upload"),
                           ("form", "10 KiB form"), ("file", "10 MiB file")):
        words = "no server is better in both CPU and requests/s"
        if workload not in results:
            yield f"{name}: {words}", "not measured", None
            continue
        rows = rows_of(results[workload], "")
        # Two of ours: each is held against the peers by itself.
        for one in (each for each in rows if each.is_ours and each.is_ranked):
            others = [each for each in rows if each is one or not each.is_ours]
            both = {peer.label for peer, _, _ in ahead(others, "cpu")} & {peer.label for peer, _, _ in ahead(others, "rate")}
            figure = f"{shown('cpu', one.median('cpu'))} µs, {shown('rate', one.median('rate'))}/s"
            yield f"{name}, {one.label}: {words}", figure + (f"; better: {', '.join(sorted(both))}" if both else ""), not both


def dribble(results):
    for server, kind in OURS:
        words = f"beside 200 dribbling clients, {kind}: at most 1.05 × the CPU a request"
        yield at_most(words, 1.05, median(results, "dribble", server, "cpu_ratio"), 3, " ×")


def slow(results):
    ours, its = (median(results, "slow-4x1", server, "p99") for server in ("rwsgi", "nginx-uwsgi"))
    words = "one request in ten sleeps, 4 × 1: p99 of the fast ones at most 1.15 × that of nginx with uWSGI"
    figure = f"{ours:.1f} ms, {its:.1f} ms: {ours / its:.2f} ×" if ours and its else "not measured"
    yield words, figure, ours / its <= 1.15 if ours and its else None
    words = "one request in ten sleeps, 2 × 4: p99 of the fast ones at most 3 ms"
    yield at_most(words, 3, median(results, "slow-2x4", "rwsgi-gthread", "p99"), 2, " ms")


def idle(results):
    for server, kind in OURS:
        found = row(results, "idle", server)
        words = f"2000 idle connections, {kind}: at most 1 KiB each"
        yield at_most(words, 1, found.median("kib_each") if found else None, 2, " KiB")
        words = f"requests beside 2000 idle connections, {kind}: as fast as without (at most 1.05 × the CPU)"
        yield at_most(words, 1.05, found.median("cpu_ratio") if found else None, 3, " ×")


def memory(results):
    for variant, limit, words in (
        ("", 97, "4 Django workers, loaded before the fork: at most 97 MiB"),
        ("with warm-up", 85, "4 Django workers, warmed up before the fork: at most 85 MiB"),
    ):
        yield at_most(words, limit, median(results, "memory", "rwsgi", "pss", variant), 1, " MiB")


def start(results):
    yield at_most("first 200 of hello within 60 ms of the start", 60, median(results, "start", "rwsgi", "ready"), 1, " ms")
