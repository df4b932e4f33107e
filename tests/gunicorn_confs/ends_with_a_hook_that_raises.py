# ends: yes
wsgi_app = "plain"


def on_starting(server):
    raise RuntimeError("raised on purpose")
