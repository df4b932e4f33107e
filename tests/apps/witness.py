"""Answers each request with a line of what it saw, in the body and in X-Saw, and remembers it.

/record tells as JSON what was seen since the last time it was asked for. The body is read whole, but not with ?unread.
"""

import hashlib
import json

seen = []


def application(environ, start_response):
    if environ["PATH_INFO"] == "/record":
        answer, seen[:] = json.dumps(seen), []
        return say(start_response, answer, "record")
    request = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "stamp": environ.get("HTTP_X_FRONT"),
        "connection": environ["REMOTE_PORT"],
        "body": None,
    }
    # Before the body, so that a request whose body is broken has been seen, too.
    seen.append(request)
    if environ["QUERY_STRING"] != "unread":
        request["body"] = described(environ["wsgi.input"].read())
    line = "{method} {target} {body}".format(**request)
    return say(start_response, line, line)


def described(body):
    return "{}:{}".format(len(body), hashlib.sha256(body).hexdigest()[:8])


def say(start_response, answer, saw):
    fields = [("Content-Type", "text/plain"), ("Content-Length", str(len(answer))), ("X-Saw", saw)]
    start_response("200 OK", fields)
    return [answer.encode("latin-1")]
