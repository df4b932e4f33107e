# All that a package for a distribution says.
wsgi_app = "plain"
bind = ["127.0.0.1:0"]
# bind: 127.0.0.1
workers = 2
timeout = 90
graceful_timeout = 10
pidfile = "site.pid"
proc_name = "site"
umask = 0o027
capture_output = True
errorlog = "-"
loglevel = "info"
limit_request_line = 2000
backlog = 64
enable_stdio_inheritance = True
control_socket_disable = True
