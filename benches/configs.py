"""The configuration files of nginx and Apache, as text."""

import os
from pathlib import Path

APACHE_MODULES = Path("/usr/lib/apache2/modules")


def nginx_conf(setup, front, protocol):
    """One worker in front of one server; connections to it are kept where its protocol can."""
    passing = {
        "http": "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host; "
        "proxy_pass http://application;",
        "uwsgi": f"{UWSGI_PARAMS} uwsgi_pass application;",
    }[protocol]
    log = f"access_log {setup.access_log};" if setup.access_log else "access_log off;"
    return f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
events {{ worker_connections 8192; }}
http {{
    {log}
    client_body_temp_path nginx_body; proxy_temp_path nginx_proxy; uwsgi_temp_path nginx_uwsgi;
    fastcgi_temp_path nginx_fastcgi; scgi_temp_path nginx_scgi;
    client_max_body_size 16m;
    client_body_buffer_size 2m;
    keepalive_requests 100000000;
    keepalive_timeout 75;
    upstream application {{ server 127.0.0.1:{setup.port}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{front} backlog=2048;
        location / {{ {passing} }}
    }}
}}
"""


# As nginx's own file uwsgi_params.
UWSGI_PARAMS = " ".join(
    f"uwsgi_param {name} ${variable};"
    for name, variable in {
        "QUERY_STRING": "query_string",
        "REQUEST_METHOD": "request_method",
        "CONTENT_TYPE": "content_type",
        "CONTENT_LENGTH": "content_length",
        "REQUEST_URI": "request_uri",
        "PATH_INFO": "document_uri",
        "DOCUMENT_ROOT": "document_root",
        "SERVER_PROTOCOL": "server_protocol",
        "REQUEST_SCHEME": "scheme",
        "REMOTE_ADDR": "remote_addr",
        "REMOTE_PORT": "remote_port",
        "SERVER_PORT": "server_port",
        "SERVER_NAME": "server_name",
    }.items()
)


def apache_conf(setup):
    """mod_wsgi in daemon mode under the event module, with as few of Apache's own modules as serve it."""
    module, _, attribute = setup.app.partition(":")
    script = setup.scratch / "apache.wsgi"
    script.write_text(f"from {module} import {attribute} as application\n")
    modules = ["mpm_event", "authz_core", "wsgi"]
    lines = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in modules]
    # Apache's children and the daemon do not run as root.
    lines += ["User www-data", "Group www-data"] if os.geteuid() == 0 else []
    # log_config is built in; without a CustomLog there is no access log.
    lines += [f'CustomLog {setup.access_log} "%h %l %u %t \\"%r\\" %>s %b"'] if setup.access_log else []
    return "\n".join(lines) + f"""
ServerName localhost
ServerRoot {setup.scratch}
DefaultRuntimeDir {setup.scratch}
PidFile {setup.scratch}/apache.pid
ErrorLog {setup.scratch}/apache-error.log
LogLevel error
Listen {setup.bind}
ListenBacklog 2048
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 75
StartServers 1
ServerLimit 4
ThreadsPerChild 128
ThreadLimit 128
MaxRequestWorkers 512
MinSpareThreads 1
MaxSpareThreads 512
AsyncRequestWorkerFactor 32
WSGIRestrictEmbedded On
WSGISocketPrefix {setup.scratch}/wsgi
WSGIDaemonProcess app processes={setup.workers} threads={setup.threads} python-home={setup.virtualenv} \
python-path={setup.directory} home={setup.directory} listen-backlog=2048
WSGIScriptAlias / {script} process-group=app application-group=%{{GLOBAL}}
<Directory />
    Require all granted
</Directory>
"""
