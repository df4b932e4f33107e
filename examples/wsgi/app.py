"""A WSGI application without a framework: four routes, each showing one thing a server must do."""

import time
from urllib.parse import parse_qs


def application(environ, start_response):
    route = ROUTES.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
    if route is None:
        return text(start_response, "404 Not Found", "no such page\n")
    return route(environ, start_response)


def hello(environ, start_response):
    """A fixed answer with a known length: /?name=World"""
    name = parse_qs(environ["QUERY_STRING"]).get("name", ["World"])[0]
    return text(start_response, "200 OK", f"Hello, {name}!\n")


def echo(environ, start_response):
    """The request body comes back as it is."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    kind = environ.get("CONTENT_TYPE") or "application/octet-stream"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def countdown(environ, start_response):
    """A body of unknown length, sent piece by piece while it is made."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ticks()


def ticks():
    for left in (3, 2, 1):
        yield f"{left}\n".encode()
        time.sleep(0.5)
    yield b"lift-off\n"


def about(environ, start_response):
    """What the server says about itself."""
    lines = [f"{key} = {environ[key]}" for key in sorted(environ) if key.startswith(("SERVER_", "wsgi.multi"))]
    return text(start_response, "200 OK", "\n".join(lines) + "\n")


def text(start_response, status, words):
    body = words.encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


ROUTES = {
    ("GET", "/"): hello,
    ("HEAD", "/"): hello,
    ("POST", "/echo"): echo,
    ("GET", "/countdown"): countdown,
    ("GET", "/about"): about,
}
