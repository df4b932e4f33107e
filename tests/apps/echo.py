"""Answers what it was asked, as JSON: method, path, query, the whole environ, length and SHA-256 of the body.

Values of the environ that JSON does not know are given as the name of their type. The body is read in pieces of
?piece= bytes (default: all at once), and not at all with ?unread.
"""

import hashlib
import json
from urllib.parse import parse_qs


def application(environ, start_response):
    wish = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    length, digest = (0, None) if "unread" in wish else consume(environ["wsgi.input"], int(wish.get("piece", [-1])[0]))
    told = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ.get("QUERY_STRING"),
        "length": length,
        "sha256": digest,
        "environ": {key: plain(value) for key, value in environ.items()},
    }
    answer = json.dumps(told, indent=1, sort_keys=True).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def consume(stream, piece):
    digest, length = hashlib.sha256(), 0
    while data := stream.read(piece):
        digest.update(data)
        length += len(data)
        if piece < 0:
            break
    return length, digest.hexdigest()


def plain(value):
    if isinstance(value, (str, int, bool, type(None))):
        return value
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return type(value).__name__
