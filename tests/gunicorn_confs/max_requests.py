# Workers that are replaced while they are asked.
wsgi_app = "plain"
workers = 2
max_requests = 3
max_requests_jitter = 2
