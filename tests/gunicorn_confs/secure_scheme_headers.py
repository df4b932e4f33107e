# The scheme by a header of one's own.
wsgi_app = "plain"
secure_scheme_headers = {"X-SCHEME": "tls", "X-FORWARDED-PROTO": "https"}
