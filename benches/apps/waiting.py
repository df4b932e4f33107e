"""Two pages: one at once, one that waits 100 ms as for a database."""

import time


def application(environ, start_response):
    name = environ["PATH_INFO"].lstrip("/").encode()
    if name == b"slow":
        time.sleep(0.1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(name)))])
    return [name]
