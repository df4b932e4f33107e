# Below a prefix, which the proxy says; names with underscores as they come.
wsgi_app = "plain"
forwarder_headers = "SCRIPT_NAME,REMOTE_USER"
header_map = "dangerous"
