# ends: yes
# words: --check-config
wsgi_app = "plain"
workers = 2
