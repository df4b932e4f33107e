# ends: yes
# words: --print-config
wsgi_app = "plain"
