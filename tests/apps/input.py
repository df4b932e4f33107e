"""Reads wsgi.input as the query says and answers the results as JSON.

?do=readline,read:3,readlines,iterate,close gives a list with a result each, bytes as text, an exception as its name.
/where says where the body is: the kind of the stream, its file's name, and what the directory in ?directory= holds.
"""

import json
import os
from urllib.parse import parse_qs


def application(environ, start_response):
    wish = parse_qs(environ["QUERY_STRING"])
    stream = environ["wsgi.input"]
    if environ["PATH_INFO"] == "/where":
        told = where(stream, wish["directory"][0])
    else:
        told = [do(stream, *word.split(":")) for word in wish["do"][0].split(",")]
    answer = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def do(stream, verb, *sizes):
    try:
        if verb == "iterate":
            return plain(list(stream))
        return plain(getattr(stream, verb)(*(None if size == "None" else int(size) for size in sizes)))
    except Exception as error:
        return type(error).__name__


def plain(value):
    if isinstance(value, list):
        return [plain(line) for line in value]
    return value if value is None else value.decode("latin-1")


def where(stream, directory):
    file = None
    if type(stream).__name__ == "BufferedReader":
        file = os.readlink("/proc/self/fd/{}".format(stream.fileno()))
    return {"kind": type(stream).__name__, "file": file, "directory": os.listdir(directory)}
