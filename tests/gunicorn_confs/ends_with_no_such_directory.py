# ends: yes
wsgi_app = "plain"
chdir = "/nowhere"
