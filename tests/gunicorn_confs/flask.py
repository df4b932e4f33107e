# env: WEB_CONCURRENCY=2
# Flask on a small machine.
wsgi_app = "flasks:app"
worker_class = "gunicorn.workers.gthread.ThreadWorker"
threads = 4
timeout = "60"
proc_name = "flask"
reload = False
preload_app = False
