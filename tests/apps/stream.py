"""A body made piece by piece, without a Content-Length: ?chunks=3&size=5&sleep=0.1

Each chunk is a line of `size` bytes that starts with its number; it sleeps `sleep` seconds before each but the first.
?length adds the Content-Length; ?empty puts an empty chunk before each. /closed says how often close() of a body
was called in this process, /write sends by the callable that start_response returns, /whole returns one line of `size` bytes in a list,
/burst/PATH makes its chunks at once and then waits until somebody writes to the FIFO PATH before it ends.
"""

import os
import time
from urllib.parse import parse_qs

PLAIN = ("Content-Type", "text/plain")
closed = 0


class Body:
    def __init__(self, chunks, size, sleep, empty):
        self.pieces = self.make(chunks, size, sleep, empty)

    def make(self, chunks, size, sleep, empty):
        for number in range(chunks):
            if number:
                time.sleep(sleep)
            if empty:
                yield b""
            yield line(number, size)

    def __iter__(self):
        return self.pieces

    def close(self):
        global closed
        closed += 1


def line(number, size):
    return str(number).encode().ljust(size - 1, b".")[: size - 1] + b"\n"


def burst(chunks, size, path):
    for number in range(chunks):
        yield line(number, size)
    os.close(os.open(path, os.O_RDONLY))
    yield b"last"


def application(environ, start_response):
    wish = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
    chunks, size, sleep = int(wish.get("chunks", 3)), int(wish.get("size", 5)), float(wish.get("sleep", 0))
    if environ["PATH_INFO"] == "/closed":
        start_response("200 OK", [PLAIN])
        return [str(closed).encode()]
    headers = [PLAIN]
    if "length" in wish:
        headers.append(("Content-Length", str(chunks * size)))
    write = start_response("200 OK", headers)
    if environ["PATH_INFO"].startswith("/burst/"):
        return burst(chunks, size, environ["PATH_INFO"].removeprefix("/burst"))
    if environ["PATH_INFO"] == "/whole":
        return [line(0, size)]
    if environ["PATH_INFO"] == "/write":
        for number in range(chunks):
            write(line(number, size))
        return []
    return Body(chunks, size, sleep, "empty" in wish)
