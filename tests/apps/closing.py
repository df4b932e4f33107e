"""Counts how often close() of each body was called: /closed answers it as JSON, every other path has such a body.

/whole ends well, /empty has no piece, /fails raises after the first piece, /early before it, /endless never ends,
/text gives no bytes, /silent never calls start_response, /unusable cannot be iterated, /generator is a generator,
/gate waits after its first piece until the FIFO ?gate= has a writer, and gives what was written.
"""

import json
from urllib.parse import parse_qs

PLAIN = ("Content-Type", "text/plain")
closed = {}


def count(path):
    closed[path] = closed.get(path, 0) + 1


class Unusable:
    def __init__(self, path):
        self.path = path

    def close(self):
        count(self.path)


class Body(Unusable):
    def __init__(self, path, pieces):
        super().__init__(path)
        self.pieces = pieces

    def __iter__(self):
        return self.pieces


def pieces(path, wish):
    if path == "/empty":
        return
    if path == "/early":
        raise RuntimeError("before the first piece")
    yield "text" if path == "/text" else b"first "
    if path == "/fails":
        raise RuntimeError("after the first piece")
    while path == "/endless":
        yield bytes(65536)
    if path == "/gate":
        with open(wish["gate"][0], "rb") as gate:
            yield gate.read()
    yield b"last"


def generator():
    try:
        yield b"first "
        yield b"last"
    finally:
        count("/generator")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/silent":
        start_response("200 OK", [PLAIN])
    if path == "/closed":
        return [json.dumps(closed).encode()]
    if path == "/unusable":
        return Unusable(path)
    if path == "/generator":
        return generator()
    return Body(path, pieces(path, parse_qs(environ["QUERY_STRING"])))
