"""A thread beside the requests that wants to run each millisecond: do the application's own threads live?

/ answers as JSON how often it ran and the largest gap in milliseconds since the last /reset, /reset starts anew.
The thread starts with the first request, so that it is in the worker and not in the process that forked it; with
TICK=import in the environment it starts at import.
"""

import json
import os
import threading
import time

PERIOD = 0.001
lock = threading.Lock()
thread = None
count, largest, since = 0, 0.0, 0.0


def tick():
    global count, largest
    before = time.monotonic()
    while True:
        time.sleep(PERIOD)
        now = time.monotonic()
        with lock:
            # A gap that began before a reset belongs to what was before it.
            if before >= since:
                count += 1
                largest = max(largest, now - before)
        before = now


def start():
    global thread
    with lock:
        if thread is None:
            thread = threading.Thread(target=tick, name="ticker", daemon=True)
            thread.start()


if os.environ.get("TICK") == "import":
    start()


def application(environ, start_response):
    global count, largest, since
    start()
    with lock:
        if environ["PATH_INFO"] == "/reset":
            count, largest, since = 0, 0.0, time.monotonic()
        told = {"ticks": count, "largest_gap_ms": largest * 1000, "alive": thread.is_alive(), "pid": os.getpid()}
    answer = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
