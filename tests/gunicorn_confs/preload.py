# Memory shared between workers, with the usual hooks of such files.
wsgi_app = "plain"
workers = 2
preload_app = True


def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)


def pre_fork(server, worker):
    pass
