"""Sends files: by wsgi.file_wrapper from ?path=, read first up to ?skip=, as ?kind= (plain, gzip, object, temporary)."""

import gzip
import io
import tempfile
from urllib.parse import parse_qs


class Object:
    """A file-like object without a descriptor."""

    def __init__(self, file):
        self.read = file.read
        self.close = file.close


def application(environ, start_response):
    wish = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    file = opened(wish)
    file.read(int(wish.get("skip", 0)))
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in wish:
        headers.append(("Content-Length", wish["length"]))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](file, int(wish.get("block", 8192)))


def opened(wish):
    kind = wish.get("kind", "plain")
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
