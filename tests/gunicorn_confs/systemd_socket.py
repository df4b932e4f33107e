# A socket that systemd has opened.
# bind: passed
wsgi_app = "plain"
bind = "unix:never.sock"
workers = 1
