# ends: yes
# words: --no-such-option
wsgi_app = "plain"
