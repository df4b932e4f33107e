# The access log follows what the application has left in the environ.
wsgi_app = "scrubbing"
workers = 1
