"""A page that computes: as many turns as BENCH_TURNS says, which is a millisecond on the machine that counted them.

It is work, not time: a thread that loses the interpreter half way through still has the other half to do.
"""

import os

TURNS = range(int(os.environ.get("BENCH_TURNS", "20000")))


def compute(turns=TURNS):
    total = 0
    for turn in turns:
        total = (total * 31 + turn) & 0xFFFF
    return total


def application(environ, start_response):
    compute()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"done"]


if __name__ == "__main__":
    # How many turns are a millisecond, the best of several, as others may be using the machine.
    from time import perf_counter

    def once():
        start = perf_counter()
        compute(range(100_000))
        return perf_counter() - start

    print(int(100_000 / min(once() for _ in range(30)) / 1000))
