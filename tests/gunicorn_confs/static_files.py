# Static files by WhiteNoise, before the application.
wsgi_app = "static:application"
workers = 2
worker_tmp_dir = "/dev/shm"
forwarded_allow_ips = "*"
