"""The same, counted by prometheus_client; the counts are a page."""

from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess

import plain

SEEN = Counter("seen", "Requests", ["path"])


def application(environ, start_response):
    path = environ["PATH_INFO"]
    SEEN.labels(path).inc()
    if path != "/form":
        return plain.application(environ, start_response)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    start_response("200 OK", [("Content-Type", "text/plain")])
    # Whose file comes first says nothing.
    return [b"\n".join(sorted(generate_latest(registry).splitlines()))]
