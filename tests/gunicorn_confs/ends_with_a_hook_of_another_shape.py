# ends: yes
wsgi_app = "plain"


def post_fork(server):
    pass
