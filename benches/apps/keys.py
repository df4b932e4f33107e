"""Says which keys the environ has, one a line."""


def application(environ, start_response):
    body = "\n".join(sorted(environ)).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
