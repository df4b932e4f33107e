# Django behind a load balancer, as most tutorials have it.
import multiprocessing
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

wsgi_app = "djangos:application"
chdir = os.path.dirname(os.path.abspath(__file__))
workers = min(multiprocessing.cpu_count() * 2 + 1, 3)
worker_class = "gthread"
threads = 2
timeout = 120
graceful_timeout = 30
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
worker_tmp_dir = "/dev/shm"
forwarded_allow_ips = "*"
loglevel = "info"
accesslog = None
errorlog = "-"
limit_request_line = 4094
