"""Sends files by wsgi.file_wrapper: ?path= as ?kind= (see opened), from ?seek= on, ?skip= bytes read before, with
?length= as Content-Length, in blocks of ?block= where the kernel cannot send it. /open answers how many descriptors
are open. /body keeps wsgi.input, and /kept answers whether that is closed.
"""

import gzip
import io
import os
import tempfile
from urllib.parse import parse_qs


kept = []


class Object:
    """A file-like object without a descriptor."""

    def __init__(self, file):
        self.read = file.read
        self.close = file.close


class Shouting(io.FileIO):
    """What it reads is not what is in the file."""

    def read(self, size=-1):
        return super().read(size).upper()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/body":
        kept[:] = [environ["wsgi.input"]]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read(3)]
    if environ["PATH_INFO"] == "/kept":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(kept.pop().closed).encode()]
    if environ["PATH_INFO"] == "/open":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(len(os.listdir("/proc/self/fd"))).encode()]
    wish = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    file = opened(wish)
    if "seek" in wish:
        file.seek(int(wish["seek"]))
    file.read(int(wish.get("skip", 0)))
    if "closed" in wish:
        file.close()
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in wish:
        headers.append(("Content-Length", wish["length"]))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](file, int(wish.get("block", 8192)))


def opened(wish):
    kind = wish.get("kind", "plain")
    if kind == "raw":
        return open(wish["path"], "rb", buffering=0)
    if kind == "update":
        return open(wish["path"], "r+b")
    if kind == "shouting":
        return Shouting(wish["path"])
    if kind == "text":
        return open(wish["path"], encoding="latin-1")
    if kind == "pipe":
        return piped(wish["path"])
    if kind == "gzip":
        return gzip.open(wish["path"])
    if kind == "object":
        return Object(open(wish["path"], "rb"))
    if kind == "memory":
        with open(wish["path"], "rb") as file:
            return io.BytesIO(file.read())
    if kind == "temporary":
        file = tempfile.NamedTemporaryFile()
        with open(wish["path"], "rb") as source:
            file.write(source.read())
        file.seek(0)
        return file
    return open(wish["path"], "rb")


def piped(path):
    """As much as a pipe holds."""
    reading, writing = os.pipe()
    with open(path, "rb") as source, open(writing, "wb") as pipe:
        pipe.write(source.read(60000))
    return open(reading, "rb")
