# stops: QUIT
# Told to stop quickly.
wsgi_app = "plain"
workers = 2
preload_app = True
