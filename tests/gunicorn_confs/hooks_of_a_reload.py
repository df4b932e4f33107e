# reloads: yes
# Told to read this file again.
wsgi_app = "plain"
workers = 1
threads = 2


def worker_int(worker):
    import traceback

    traceback.print_stack()
