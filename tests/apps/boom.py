"""Raises where it is told to.

At import, if the environment has BOOM=import (an exception), BOOM=exit (sys.exit(7)) or BOOM=syntax.
By path: /call in the call, /first before the first chunk, /middle after it, /close in close(), /long raises a message of 3 MB and writes as much before, /silent never calls
start_response, /late calls it with the first chunk (which is right), /again answers an error page by a second
start_response with exc_info. Everything else is answered.
"""

import os
import sys

if os.environ.get("BOOM") == "import":
    raise RuntimeError("boom at import")
if os.environ.get("BOOM") == "exit":
    sys.exit(7)
if os.environ.get("BOOM") == "syntax":
    compile("def (", "boom.py", "exec")

PLAIN = [("Content-Type", "text/plain")]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/call":
        raise RuntimeError("boom in the call")
    if path == "/long":
        # A bulk insert's parameters.
        environ["wsgi.errors"].write("w" * 3_000_000 + " end of the text\n")
        raise RuntimeError("long: " + "y" * 3_000_000)
    if path == "/silent":
        return [b"nobody called start_response"]
    if path == "/again":
        return again(start_response)
    if path != "/late":
        start_response("200 OK", PLAIN)
    return Body(path, start_response)


def again(start_response):
    start_response("200 OK", PLAIN)
    try:
        raise RuntimeError("boom, told politely")
    except RuntimeError:
        start_response("503 Service Unavailable", PLAIN, sys.exc_info())
    return [b"sorry"]


class Body:
    def __init__(self, path, start_response):
        self.path = path
        self.start_response = start_response

    def __iter__(self):
        if self.path == "/late":
            self.start_response("200 OK", PLAIN)
        if self.path == "/first":
            raise RuntimeError("boom before the first chunk")
        yield b"first "
        if self.path == "/middle":
            raise RuntimeError("boom after the first chunk")
        yield b"last"

    def close(self):
        if self.path == "/close":
            raise RuntimeError("boom in close")
