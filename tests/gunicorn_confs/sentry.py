# Sentry in each worker; nobody listens.
wsgi_app = "plain"
workers = 1
threads = 2


def post_fork(server, worker):
    import sentry_sdk

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", shutdown_timeout=0, default_integrations=False)


def post_worker_init(worker):
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware

    worker.wsgi = SentryWsgiMiddleware(worker.wsgi)
