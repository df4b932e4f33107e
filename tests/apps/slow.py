"""Takes its time: /sleep?s=1.5 lets others run, /busy?s=1.5 computes and holds the GIL. It answers its pid.

/stubborn?s=1.5 sleeps and swallows whatever is raised in it, SystemExit and KeyboardInterrupt too.
"""

import os
import time
from urllib.parse import parse_qs


def application(environ, start_response):
    seconds = float(parse_qs(environ["QUERY_STRING"]).get("s", ["0"])[0])
    WAYS.get(environ["PATH_INFO"], time.sleep)(seconds)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def stubborn(seconds):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:
            pass


WAYS = {"/busy": busy, "/stubborn": stubborn}
