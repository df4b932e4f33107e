"""Answers with a body that never ends, and says on wsgi.errors when it was closed."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Endless(environ["wsgi.errors"])


class Endless:
    def __init__(self, errors):
        self.errors = errors
        self.count = 0

    def __iter__(self):
        while True:
            self.count += 1
            yield b"x" * 65536

    def close(self):
        self.errors.write(f"closed after {self.count} pieces\n")
