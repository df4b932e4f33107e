"""Answers as JSON by which thread a request was served, and how many that thread has served.

/wait/PATH first waits until somebody writes to the FIFO PATH, and says so; /busy?s=0.2 computes for so many seconds of
CPU time, /nap?s=0.2 for 2 ms and then sleeps so long. A signal USR1 is noted by a handler of Python's own; /signals
tells how many came.
"""

import json
import os
import signal
import threading
import time

local = threading.local()
signals = 0


def noted(number, frame):
    global signals
    signals += 1


signal.signal(signal.SIGUSR1, noted)


def compute(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait/"):
        os.write(2, b"waits\n")
        os.close(os.open(path[5:], os.O_RDONLY))
    if path == "/busy":
        compute(float(environ["QUERY_STRING"].removeprefix("s=")))
    if path == "/nap":
        compute(0.002)
        time.sleep(float(environ["QUERY_STRING"].removeprefix("s=")))
    local.served = getattr(local, "served", 0) + 1
    thread = threading.current_thread()
    told = {
        "thread": thread.name,
        "daemon": thread.daemon,
        "served": local.served,
        "known": thread in threading.enumerate(),
        "multithread": environ["wsgi.multithread"],
        "signals": signals,
        "pid": os.getpid(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
