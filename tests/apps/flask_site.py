"""What Flask and Werkzeug do with requests and responses, a path each. FILE in the environment is the file to send.

/mounted is the same below a prefix, /proxied behind ProxyFix, /shout through a middleware in capitals, /shared the
directory of FILE.
"""

import io
import os
import zlib
from datetime import datetime, timezone

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, stream_with_context, url_for
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware

from checked import checked

FILE = os.environ["FILE"]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
app = Flask(__name__)
app.secret_key = "no secret"
closed = 0


def summed(pieces):
    length, sum = 0, 1
    for piece in pieces:
        length, sum = length + len(piece), zlib.adler32(piece, sum)
    return {"length": length, "sum": sum}


@app.post("/form")
def form():
    return jsonify(form=request.form.to_dict(flat=False), args=request.args.to_dict(flat=False))


@app.post("/upload")
def upload():
    files = [
        {"field": field, "name": file.filename, "type": file.content_type, **summed(iter(lambda: file.read(5000), b""))}
        for field, file in request.files.items(multi=True)
    ]
    return jsonify(form=request.form.to_dict(flat=False), files=files)


@app.route("/body/<way>", methods=METHODS)
def body(way):
    ways = {
        "data": lambda: [request.get_data()],
        "pieces": lambda: iter(lambda: request.stream.read(5000), b""),
        "lines": lambda: request.stream,
        "json": lambda: [request.get_json()["text"].encode()],
        "unread": lambda: [],
    }
    announced = request.environ.get("CONTENT_LENGTH")
    return jsonify(method=request.method, announced=announced and int(announced), **summed(ways[way]()))


@app.get("/stream")
def stream():
    return Response(("{} {}\n".format(n, "\u20ac") for n in range(int(request.args["count"]))), mimetype="text/plain")


@app.get("/stream-in-context")
def stream_in_context():
    def pieces():
        for n in range(int(request.args["count"])):
            yield "{} {}\n".format(n, request.args["mark"])

    return Response(stream_with_context(pieces()), mimetype="text/plain")


@app.get("/endless")
def endless():
    def pieces():
        global closed
        try:
            while True:
                yield bytes(65536)
        finally:
            closed += 1

    response = Response(pieces(), mimetype="application/octet-stream")

    @response.call_on_close
    def count():
        global closed
        closed += 1

    return response


@app.get("/closed")
def how_often_closed():
    return str(closed)


@app.get("/file")
def file():
    return send_file(FILE, mimetype="application/octet-stream", conditional=True)


@app.get("/memory")
def memory():
    with open(FILE, "rb") as source:
        content = io.BytesIO(source.read())
    return send_file(content, download_name="caf\u00e9 \u20ac.bin", as_attachment=True)


@app.get("/tagged")
def tagged():
    response = Response("tagged", mimetype="text/plain")
    response.set_etag("one")
    response.last_modified = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return response.make_conditional(request)


@app.get("/cookies")
def cookies():
    response = jsonify(request.cookies)
    response.set_cookie("plain", "1", path="/", httponly=True, samesite="Lax")
    response.set_cookie("wide", "caf\u00e9; \u00fc", max_age=60)
    response.delete_cookie("gone")
    return response


@app.get("/redirect")
def redirecting():
    return redirect(request.args.get("to") or url_for("path", rest="\u00fc/\u20ac b", q="\u00e9&"), code=303)


@app.get("/path/")
@app.get("/path/<path:rest>")
def path(rest=None):
    return jsonify(
        path=request.path,
        rest=rest,
        args=request.args.to_dict(flat=False),
        query=request.query_string.decode("latin-1"),
        url=request.url,
        root=request.root_path,
        remote=request.remote_addr,
        own=url_for("path", rest="x", _external=True),
    )


@app.get("/session")
def counting():
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])


@app.route("/method", methods=METHODS)
def method():
    return request.method


@app.get("/nothing")
def nothing():
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


@app.get("/abort/<int:status>")
def aborting(status):
    abort(status)


@app.get("/boom")
def boom():
    raise RuntimeError("boom in Flask")


def writing(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    write(b"two ")
    return [b"three"]


class Shouting:
    """Wraps start_response, the write that it returns, and the iterable."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        def started(status, headers, exc_info=None):
            write = start_response(status, [*headers, ("X-Shouted", "yes")], exc_info)
            return lambda data: write(data.upper())

        return Shouted(self.application(environ, started))


class Shouted:
    def __init__(self, pieces):
        self.pieces = pieces

    def __iter__(self):
        return (piece.upper() for piece in self.pieces)

    def close(self):
        if hasattr(self.pieces, "close"):
            self.pieces.close()


mounts = {
    "/mounted": app,
    "/proxied": ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_prefix=1),
    "/shout": Shouting(app),
    "/shout/write": Shouting(writing),
    "/shared": SharedDataMiddleware(app, {"/": os.path.dirname(FILE)}),
}
application = checked(DispatcherMiddleware(app, mounts))
