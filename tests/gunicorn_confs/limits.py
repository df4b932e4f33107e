# Tight limits.
wsgi_app = "plain"
limit_request_line = 60
limit_request_fields = 12
limit_request_field_size = 200
