"""Says "under way: WAY in THREAD" on standard error and then stays in the application, until its deadline ends it. It answers its pid.

/sleep, /busy, /lock (the GIL free, or to be had) and /c (a call in C that holds the GIL and looks at no signal) take an hour, or
for ever. /swallow catches whatever is raised in it, and waits on. /gate/PATH waits until somebody writes to the FIFO PATH.
/patient/PATH asks for an hour before that. /edge?s=0.3 computes.
/extend?s=2 asks for so many seconds and sleeps for half of them. /begun sends the head and a piece, and sleeps. /late catches the
exception and answers which it was, by its name. /read answers how much it has read of its body. /outside extends the deadline
from a thread of its own. /wedge has a thread do what /c does, a moment later. Anything else is answered at once.
"""

import collections
import itertools
import os
import threading
import time

HOUR = 3600


def sleep(_):
    time.sleep(HOUR)


def busy(_):
    while True:
        pass


def lock(_):
    held = threading.Lock()
    held.acquire()
    held.acquire()


def c(_):
    collections.deque(itertools.repeat(0), maxlen=0)


def swallow(_):
    while True:
        try:
            time.sleep(HOUR)
        except BaseException:
            pass


def gate(environ):
    os.close(os.open(environ["PATH_INFO"].removeprefix("/gate"), os.O_RDONLY))


def extend(environ):
    seconds = float(environ["QUERY_STRING"].removeprefix("s="))
    environ["rwsgi.extend_deadline"](seconds)
    time.sleep(seconds / 2)


def late(environ):
    import rwsgi

    assert rwsgi.RequestTimeout is environ["rwsgi.RequestTimeout"]
    assert not issubclass(rwsgi.RequestTimeout, Exception)
    try:
        busy(environ)
    except rwsgi.RequestTimeout as error:
        return type(error).__name__


def read(environ):
    return str(len(environ["wsgi.input"].read()))


def outside(environ):
    said = []

    def extend():
        try:
            environ["rwsgi.extend_deadline"](5)
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=extend)
    thread.start()
    thread.join()
    return said[0]


def patient(environ):
    environ["rwsgi.extend_deadline"](HOUR)
    os.close(os.open(environ["PATH_INFO"].removeprefix("/patient"), os.O_RDONLY))


def edge(environ):
    until = time.monotonic() + float(environ["QUERY_STRING"].removeprefix("s="))
    while time.monotonic() < until:
        pass


def wedge(environ):
    threading.Timer(0.3, c, (environ,)).start()


ALL = (wedge, sleep, busy, lock, c, swallow, gate, patient, extend, edge, late, read, outside)
WAYS = {way.__name__: way for way in ALL}


def application(environ, start_response):
    way = environ["PATH_INFO"].lstrip("/").partition("/")[0]
    answer = None
    if way:
        os.write(2, f"under way: {way} in {threading.current_thread().name}\n".encode())
    if way in WAYS:
        answer = WAYS[way](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if way == "begun":
        return begun(environ)
    return [(answer or str(os.getpid())).encode()]


def begun(environ):
    yield b"begun"
    sleep(environ)
