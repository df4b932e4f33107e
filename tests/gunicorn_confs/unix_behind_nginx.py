# A unix socket, to which nginx passes.
# bind: unix:site.sock
wsgi_app = "plain:application"
bind = "unix:site.sock"
umask = 0o007
workers = 2
pidfile = "site.pid"
