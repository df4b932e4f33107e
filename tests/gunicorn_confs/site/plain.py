"""Answers what it is told: the environ of each request, and what of the process's surroundings a configuration file can set."""

import json
import os
import sys


def plain(value):
    if isinstance(value, (str, int, bool, tuple)):
        return repr(value)
    return "an object"


def answer(environ, start_response):
    length = len(environ["wsgi.input"].read())
    told = {name: plain(value) for name, value in environ.items()}
    told["(body)"] = str(length)
    told["(cwd)"] = os.path.basename(os.getcwd())
    told["(sys.path)"] = os.path.basename(sys.path[0])
    for name in ("GREETING", "EMPTY", "DJANGO_SETTINGS_MODULE"):
        told["($%s)" % name] = os.environ.get(name, "not set")
    # As long as any other: its length says nothing about what is in it.
    body = json.dumps(told).ljust(10000).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("X-Site", "plain")])
    return [body]


def note(word):
    if "NOTES" in os.environ:
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(word + "\n")


def application(environ, start_response):
    note("request")
    if environ["PATH_INFO"] == "/raises":
        raise ValueError("raised on purpose")
    if environ["PATH_INFO"] == "/missing":
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"none"]
    return answer(environ, start_response)


not_callable = 5
