"""Says "under way" on standard error and then stays in the application until it is let go. It answers its pid.

/gate/PATH waits until somebody writes to the FIFO PATH, /sleep sleeps (in C, the GIL released), /busy computes (the GIL held),
/stubborn sleeps and swallows whatever is raised in it: these three for a minute. Anything else is answered at once.
With GATE in the environment, one of these paths, it happens at import, too.
"""

import os
import sys
import time

MINUTE = 60


def happen(path):
    way, _, rest = path.lstrip("/").partition("/")
    if way not in WAYS:
        return
    print("under way:", way, file=sys.stderr, flush=True)
    WAYS[way]("/" + rest)


def gate(path):
    os.close(os.open(path, os.O_RDONLY))


def sleep(_):
    time.sleep(MINUTE)


def busy(_):
    until = time.monotonic() + MINUTE
    while time.monotonic() < until:
        pass


def stubborn(_):
    until = time.monotonic() + MINUTE
    while (left := until - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:
            pass


WAYS = {"gate": gate, "sleep": sleep, "busy": busy, "stubborn": stubborn}
happen(os.environ.get("GATE", ""))


def application(environ, start_response):
    happen(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
