# Behind a balancer of TCP.
# before: PROXY TCP4 192.0.2.7 192.0.2.1 4711 443
wsgi_app = "plain"
proxy_protocol = True
