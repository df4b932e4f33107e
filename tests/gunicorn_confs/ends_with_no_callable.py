# ends: yes
wsgi_app = "plain:not_callable"
