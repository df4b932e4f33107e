"""Does by path what PEP 3333 forbids, or leaves to the last moment. WAYS has each way; what is not there is answered.

A way gets start_response and returns the response. /kept calls the start_response and the write that /keep has kept
from its request, and answers what they raised. /errors writes to wsgi.errors.
"""

import sys

PLAIN = ("Content-Type", "text/plain")
# What an application that passes on the response of another server copies.
PROXIED = [
    ("Connection", "keep-alive, Upgrade"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "X-Sum"),
    ("Upgrade", "h2c"),
    ("Transfer-Encoding", "gzip, chunked"),
]
kept = []


def answer(status="200 OK", headers=(), body=(b"body",)):
    def way(start_response):
        start_response(status, [PLAIN, *headers])
        return list(body)

    return way


def twice(start_response):
    start_response("200 OK", [PLAIN])
    start_response("404 Not Found", [PLAIN])
    return [b"body"]


def error_page(start_response):
    start_response("200 OK", [PLAIN, ("X-First", "yes")])
    try:
        raise RuntimeError("before the head")
    except RuntimeError:
        start_response("503 Service Unavailable", [PLAIN], sys.exc_info())
    return [b"sorry"]


def by_keyword(start_response):
    start_response("200 OK", [PLAIN])
    try:
        raise RuntimeError("before the head")
    except RuntimeError:
        start_response("503 Service Unavailable", [PLAIN], exc_info=sys.exc_info())
    return [b"sorry"]


def too_late(start_response):
    start_response("200 OK", [PLAIN])
    yield b"first"
    try:
        raise RuntimeError("after the head")
    except RuntimeError:
        start_response("503 Service Unavailable", [PLAIN], sys.exc_info())
    yield b"never"


def second_is_wrong(start_response):
    write = start_response("200 OK", [PLAIN])
    try:
        start_response("no status", [PLAIN], (None, None, None))
    except ValueError:
        pass
    write(b"without a head")
    return []


def written(start_response):
    write = start_response("200 OK", [PLAIN])
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def written_text(start_response):
    start_response("200 OK", [PLAIN])("text")
    return []


def late(start_response):
    start_response("200 OK", [PLAIN])
    yield b"late"


def endless(status):
    def way(start_response):
        start_response(status, [PLAIN])
        while True:
            yield b"more"

    return way


def later(start_response):
    yield b""
    start_response("200 OK", [PLAIN])
    yield b"later"


def keep(start_response):
    kept[:] = start_response, start_response("200 OK", [PLAIN])
    return [b"kept"]


def use_kept(start_response):
    told = []
    for call, arguments in zip(kept, [("200 OK", [PLAIN]), (b"foreign",)]):
        try:
            call(*arguments)
            told.append("nothing")
        except Exception as error:
            told.append(type(error).__name__)
    start_response("200 OK", [PLAIN])
    return [" ".join(told).encode()]


def call_with(*arguments):
    def way(start_response):
        start_response(*arguments)
        return [b"body"]

    return way


def returning(value):
    def way(start_response):
        start_response("200 OK", [PLAIN])
        return value

    return way


def surrogate(start_response):
    raise RuntimeError("lone \udcff surrogate")


def unprintable(start_response):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    raise Unprintable


def forged(start_response):
    raise RuntimeError("x\n[2026-01-01 00:00:00 +0000] [1] [INFO] forged\n\x1b[2J")


WAYS = {
    "twice": twice,
    "error-page": error_page,
    "too-late": too_late,
    "second-is-wrong": second_is_wrong,
    "written": written,
    "written-text": written_text,
    "late": late,
    "later": later,
    "endless": endless("200 OK"),
    "204-endless": endless("204 No Content"),
    "304-endless": endless("304 Not Modified"),
    "keep": keep,
    "kept": use_kept,
    "silent": lambda start_response: [b"body"],
    "silent-empty": lambda start_response: [],
    "none": lambda start_response: None,
    "status-empty": answer(""),
    "status-word": answer("fine"),
    "status-short": answer("20 OK"),
    "status-interim": answer("100 Continue"),
    "status-high": answer("600 Much"),
    "status-highest": answer("999 Most"),
    "by-keyword": by_keyword,
    "status-line-end": answer("200 OK\r\nX-Injected: yes"),
    "status-bytes": call_with(b"200 OK", [PLAIN]),
    "status-number": call_with(200, [PLAIN]),
    "status-wide": answer("200 \u20ac"),
    "headers-tuple": call_with("200 OK", (PLAIN,)),
    "headers-pairs": call_with("200 OK", [PLAIN, ["X-A", "b"]]),
    "headers-generator": lambda start_response: call_with("200 OK", (pair for pair in [PLAIN]))(start_response),
    "headers-items": call_with("200 OK", dict([PLAIN]).items()),
    "headers-dict": call_with("200 OK", dict([PLAIN])),
    "headers-text": call_with("200 OK", "Content-Type: text/plain"),
    "header-text": call_with("200 OK", ["AB"]),
    "headers-none": call_with("200 OK", None),
    "header-list": call_with("200 OK", [["Content-Type", "text/plain"]]),
    "header-three": call_with("200 OK", [("A", "b", "c")]),
    "name-bytes": call_with("200 OK", [(b"A", "b")]),
    "name-empty": answer(headers=[("", "b")]),
    "name-blank": answer(headers=[("A B", "c")]),
    "name-line-end": answer(headers=[("A\r\nX-Injected", "c")]),
    "value-bytes": call_with("200 OK", [("A", b"b")]),
    "value-number": call_with("200 OK", [("Content-Length", 4)]),
    "value-line-end": answer(headers=[("A", "b\r\nX-Injected: yes")]),
    "value-line-feed": answer(headers=[("A", "b\nX-Injected: yes")]),
    "value-nul": answer(headers=[("A", "b\0c")]),
    "value-wide": answer(headers=[("A", "\u20ac")]),
    "connection": answer(headers=[("Connection", "x-hop")]),
    "transfer-encoding": answer(headers=[("Transfer-Encoding", "chunked")]),
    "proxied": answer(headers=PROXIED),
    "length-word": answer(headers=[("Content-Length", "four")]),
    "length-negative": answer(headers=[("Content-Length", "-4")]),
    "length-twice": answer(headers=[("Content-Length", "4"), ("Content-Length", "4")]),
    "no-arguments": call_with(),
    "text": answer(body=["text"]),
    "bytearray": answer(body=[bytearray(b"body")]),
    "mixed": answer(body=[b"first", "text"]),
    "bare-bytes": returning(b"body"),
    "bare-number": returning(4),
    "latin": answer("200 Sch\u00f6n", [("X-Name", "J\u00fcrgen")]),
    "no-reason": answer("200"),
    "own": answer(headers=[("Server", "mine"), ("Date", "today")]),
    "cookies": answer(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
    "too-long": answer(headers=[("Content-Length", "2")]),
    "too-long-pieces": answer(headers=[("Content-Length", "2")], body=(b"b", b"od", b"y")),
    "too-short": answer(headers=[("Content-Length", "9")]),
    "204": answer("204 No Content", body=()),
    "204-body": answer("204 No Content"),
    "204-length": answer("204 No Content", [("Content-Length", "4")]),
    "304": answer("304 Not Modified", [("Content-Length", "4"), ("ETag", '"a"')], body=()),
    "length": answer(headers=[("Content-Length", "4")]),
    "pieces": answer(body=(b"bo", b"dy")),
    "surrogate": surrogate,
    "unprintable": unprintable,
    "forged": forged,
}


def application(environ, start_response):
    if environ["PATH_INFO"] == "/errors":
        environ["wsgi.errors"].write("told by the application: \u20ac \udcff\n")
        environ["wsgi.errors"].writelines(["and ", "more\n"])
        environ["wsgi.errors"].flush()
    return WAYS.get(environ["PATH_INFO"].strip("/"), answer())(start_response)
