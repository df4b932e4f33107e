"""An application that removes secrets from the environ, as some do before the access log is written."""

import plain


def application(environ, start_response):
    response = plain.application(environ, start_response)
    environ["RAW_URI"] = environ["PATH_INFO"] + "?token=removed"
    environ["QUERY_STRING"] = "token=removed"
    environ["REQUEST_METHOD"] = environ["REQUEST_METHOD"].lower()
    environ["SERVER_PROTOCOL"] = "HTTP/1"
    environ.pop("HTTP_REFERER", None)
    return response
