# ends: yes
wsgi_app = "plain:nothing"
