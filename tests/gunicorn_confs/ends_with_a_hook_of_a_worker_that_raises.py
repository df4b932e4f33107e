# ends: yes
wsgi_app = "plain"


def post_worker_init(worker):
    raise RuntimeError("raised on purpose")
