# needs: child_exit
# Prometheus in multiprocess mode.
wsgi_app = "plain"
workers = 2


def child_exit(server, worker):
    server.log.info("worker %s is gone", worker.pid)
