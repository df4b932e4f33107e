"""Ends its process in the ways that there are; everything else is answered with the pid.

/segfault, /abort, /_exit/N (os._exit), /exit/N (sys.exit, which a server should survive), /interrupt
(KeyboardInterrupt, likewise), /kill/N (signal N to itself), /memory (MemoryError, likewise).
With CRASH in the environment, one of these paths, it happens at import.
"""

import ctypes
import os
import sys


def happen(path):
    what, _, number = path.strip("/").partition("/")
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "abort":
        os.abort()
    elif what == "_exit":
        os._exit(int(number))
    elif what == "exit":
        sys.exit(int(number))
    elif what == "interrupt":
        raise KeyboardInterrupt
    elif what == "kill":
        os.kill(os.getpid(), int(number))
    elif what == "memory":
        raise MemoryError


happen(os.environ.get("CRASH", ""))


def application(environ, start_response):
    happen(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
