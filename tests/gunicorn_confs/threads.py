# Threads, and many connections.
wsgi_app = "plain"
workers = 1
worker_class = "gthread"
threads = 8
worker_connections = 200
keepalive = 75
backlog = 512
