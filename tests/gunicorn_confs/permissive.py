# For clients that are not quite HTTP.
wsgi_app = "plain"
permit_obsolete_folding = True
strip_header_spaces = True
permit_unconventional_http_method = True
casefold_http_method = True
http_parser = "python"
