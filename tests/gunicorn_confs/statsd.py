# Metrics by statsd; nobody listens.
wsgi_app = "plain"
statsd_host = "127.0.0.1:9"
statsd_prefix = "site"
