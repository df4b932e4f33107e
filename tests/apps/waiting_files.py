"""/file/PATH sends a file by wsgi.file_wrapper, /wait/PATH waits until somebody writes to the FIFO PATH, anything else
answers how many bytes the request's body has."""

import os


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/file/"):
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](open(path[5:], "rb"))
    if path.startswith("/wait/"):
        os.write(2, b"waits\n")
        os.close(os.open(path[5:], os.O_RDONLY))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(environ["wsgi.input"].read())).encode()]
