# Only a proxy elsewhere is believed.
wsgi_app = "plain"
forwarded_allow_ips = "10.0.0.0/8,192.168.1.1"
