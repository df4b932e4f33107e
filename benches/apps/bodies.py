"""Bodies out and in: a mebibyte, a hundred pieces, an upload, a form, a file.

What comes in is answered with its length, and with its checksum only where the query asks for it: that is for checking,
and would be most of the work.
"""

import os
import zlib
from urllib.parse import parse_qsl

MEBIBYTE = bytes(range(256)) * 4096
PIECE = b"0123456789abcdef" * 16
PIECES = 100


def application(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def mebibyte(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(MEBIBYTE)))])
    return [MEBIBYTE]


def chunks(environ, start_response):
    """No length: the server has to delimit the body, and may not wait for the next piece before it sends the last."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return (PIECE for _ in range(PIECES))


def upload(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return told(environ, start_response, body, len(body))


def form(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return told(environ, start_response, body, len(parse_qsl(body.decode())))


def told(environ, start_response, body, count):
    answer = str(count).encode()
    if environ.get("QUERY_STRING") == "checksum":
        answer += b" %08x" % zlib.crc32(body)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def file(environ, start_response):
    """As a framework sends a download: by the server's wrapper where it has one."""
    opened = open(os.environ["BENCH_FILE"], "rb")
    size = os.fstat(opened.fileno()).st_size
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    return environ.get("wsgi.file_wrapper", in_blocks)(opened, 65536)


def in_blocks(opened, size):
    with opened:
        yield from iter(lambda: opened.read(size), b"")


ROUTES = {"/mebibyte": mebibyte, "/chunks": chunks, "/upload": upload, "/form": form, "/file": file}
