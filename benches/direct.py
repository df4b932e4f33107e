"""What an application answers when no server stands between: direct.py MODULE:CALLABLE TARGET, a body on standard
input. Writes the body of the response. Runs in the benchmark's virtualenv, in the application's directory."""

import importlib
import io
import os
import sys
from wsgiref.util import setup_testing_defaults


def main():
    module, _, attribute = sys.argv[1].partition(":")
    path, _, query = sys.argv[2].partition("?")
    body = sys.stdin.buffer.read()
    sys.path.insert(0, os.getcwd())
    application = getattr(importlib.import_module(module), attribute)
    environ = {"PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body)}
    environ |= {"REQUEST_METHOD": "POST" if body else "GET", "CONTENT_LENGTH": str(len(body))}
    setup_testing_defaults(environ)
    response = application(environ, lambda status, headers, exc_info=None: None)
    sys.stdout.buffer.write(b"".join(response))


if __name__ == "__main__":
    main()
