"""Starts the servers that are libraries: launch.py NAME MODULE:CALLABLE PORT WORKERS THREADS, the application in the
working directory. Runs in the benchmark's virtualenv."""

import importlib
import os
import signal
import sys


def bjoern(application, port, workers, threads):
    import bjoern

    bjoern.listen(application, "127.0.0.1", port, listen_backlog=2048)
    forked(bjoern.run, workers)


def fastpysgi(application, port, workers, threads):
    import fastpysgi

    fastpysgi.run(application, "127.0.0.1", port, loglevel=fastpysgi.LL_ERROR, workers=workers)


def cheroot(application, port, workers, threads):
    from cheroot import wsgi

    server = wsgi.Server(("127.0.0.1", port), application, numthreads=threads, request_queue_size=2048)
    # 10 unless told: every further connection would be closed after one answer.
    server.keep_alive_conn_limit = 4096
    server.start()


def forked(serve, workers):
    """As many processes as asked for on one listening socket, the first of them this one."""
    for _ in range(workers - 1):
        if not os.fork():
            break
    serve()


def main():
    name, app, *numbers = sys.argv[1:]
    module, _, attribute = app.partition(":")
    sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    application = getattr(importlib.import_module(module), attribute)
    {"bjoern": bjoern, "fastpysgi": fastpysgi, "cheroot": cheroot}[name](application, *map(int, numbers))


if __name__ == "__main__":
    main()
