//! What the fronts are told: three doors each, the first as the front is shipped, the others as lenient as it can be, each
//! to a server of its own. Connections to the server are kept, a request is sent once, and has a stamp: the secret, an id,
//! and the request line as the front read it.

use std::fmt::Write as _;

use crate::support::Server;

/// For nginx: buffers bodies as it is shipped, passes them on as they come where it is lenient.
pub(crate) fn nginx(secret: &str, servers: &[Server; 3]) -> String {
    let mut text = "\
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
access_log off;
client_body_temp_path client_body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi; scgi_temp_path scgi;
proxy_http_version 1.1;
proxy_set_header Connection '';
proxy_set_header Host $http_host;
proxy_ignore_client_abort on;
proxy_next_upstream off;
"
    .to_owned();
    writeln!(text, "proxy_set_header X-Front '{secret} $request_id $request_method $request_uri $server_protocol';")
        .unwrap();
    let lenient =
        "ignore_invalid_headers off; underscores_in_headers on; merge_slashes off; proxy_request_buffering off;";
    for (index, (server, how)) in servers.iter().zip(["", lenient, lenient]).enumerate() {
        write!(
            text,
            "upstream door{index} {{ server {}; keepalive 8; }}
server {{
listen 127.0.0.1:0;
{how}
location / {{ proxy_pass http://door{index}; }}
}}
",
            server.address()
        )
        .unwrap();
    }
    text + "}\n"
}

/// For Apache, which sends chunks where it is lenient.
pub(crate) fn apache(secret: &str, servers: &[Server; 3], ports: &[u16]) -> String {
    let lenient = "HttpProtocolOptions Unsafe LenientMethods Allow0.9\nSetEnv proxy-sendchunked 1";
    let doors = servers.iter().zip(ports).zip(["HttpProtocolOptions Strict", lenient, lenient]);
    doors.fold(String::new(), |text, ((server, port), how)| {
        let backend = server.address();
        format!(
            "{text}Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
{how}
AllowEncodedSlashes NoDecode
ProxyPreserveHost On
ProxyPass / http://{backend}/ nocanon keepalive=On
RequestHeader set X-Front \"expr={secret} %{{reqenv:UNIQUE_ID}} %{{THE_REQUEST}}\"
</VirtualHost>
"
        )
    })
}

/// For HAProxy.
pub(crate) fn haproxy(secret: &str, servers: &[Server; 3]) -> String {
    let mut text = "\
global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    log global
    option http-keep-alive
    timeout connect 10s
    timeout client 20s
    timeout server 20s
    http-reuse always
    retries 0
"
    .to_owned();
    let lenient = "option accept-invalid-http-request";
    for (index, (server, how)) in
        servers.iter().zip(["no option accept-invalid-http-request", lenient, lenient]).enumerate()
    {
        write!(
            text,
            "frontend door{index}
    bind fd@{index}
    {how}
    http-request set-header X-Front \"{secret} %[uuid()] %[method] %[url] HTTP/%[req.ver]\"
    default_backend server{index}
backend server{index}
    server it {}
",
            server.address()
        )
        .unwrap();
    }
    text
}
