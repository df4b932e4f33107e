//! TLS as its users meet it: curl, openssl s_client, Python and nginx against the server's own certificates.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::outside::{Nginx, ask, curl, python, run_tool, tool};
use crate::support::pki::Authority;
use crate::support::{Server, apps, run};

/// An authority with a server's certificate, and a server with that.
fn served(words: &[&str]) -> (TempDir, Authority, Server) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    let server = start(&authority, words);
    (directory, authority, server)
}

fn start(authority: &Authority, words: &[&str]) -> Server {
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    Server::start(&[&["--certfile", &certificate, "--keyfile", &key][..], words].concat())
}

fn url(server: &Server, path: &str) -> String {
    format!("https://{}{path}", server.address())
}

/// curl that believes the authority.
fn get(authority: &Authority, server: &Server, path: &str, more: &[&str]) -> String {
    curl([&["--cacert", &authority.path("ca.pem"), &url(server, path)][..], more].concat())
}

fn told(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}\n{text}"))["environ"].take()
}

/// A request through `openssl s_client`: what it says of the session and of the response, and whether it succeeded.
fn s_client(authority: &Authority, server: &Server, words: &str, request: &str) -> (bool, String) {
    let mut command = tool("openssl", ["s_client", "-connect", server.address(), "-CAfile", &authority.path("ca.pem")]);
    command.args(words.split(' ').filter(|word| !word.is_empty()));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let request = request.to_owned();
    // The server closes the connection, which ends it; until then it waits for more to send.
    let writer = thread::spawn(move || {
        let _ = input.write_all(request.as_bytes());
        input
    });
    let mut errors = child.stderr.take().unwrap();
    let stderr = thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).unwrap();
        text
    });
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    output.extend(stderr.join().unwrap());
    drop(writer.join().unwrap());
    let status = child.wait().unwrap();
    (status.success(), String::from_utf8_lossy(&output).into_owned())
}

const CLOSE: &str = "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

#[test]
fn curl_and_the_application_see_https() {
    let (_directory, authority, mut server) = served(&["echo"]);
    assert!(server.log().contains(&url(&server, "")), "{}", server.log());
    let port = server.port();
    let site = format!("https://site.test:{port}/a?b");
    let resolve = format!("site.test:{port}:127.0.0.1");
    let words =
        ["--cacert", &authority.path("ca.pem"), "--resolve", &resolve, &site, "--http2", "-w", "%{http_version}"];
    let answer = curl(words);
    let (answer, version) = answer.rsplit_once('}').unwrap();
    assert_eq!(version.trim(), "1.1");
    let environ = told(&format!("{answer}}}"));
    for (key, value) in [
        ("wsgi.url_scheme", "https"),
        ("HTTPS", "on"),
        ("SSL_PROTOCOL", "TLSv1.3"),
        ("SSL_TLS_SNI", "site.test"),
        ("SSL_CLIENT_VERIFY", "NONE"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("RAW_URI", "/a?b"),
    ] {
        assert_eq!(environ[key], value, "{key}");
    }
    assert!(environ["SSL_CIPHER"].as_str().unwrap().starts_with("TLS_"), "{environ}");
    assert_eq!(environ.get("SSL_CLIENT_S_DN"), None);
    server.stop();
}

#[test]
fn bodies_of_all_sizes_go_both_ways_whole() {
    let (directory, authority, mut server) = served(&["--worker-tmp-dir", "/tmp", "echo"]);
    for size in [1, 10_000, 100_000, 900_000, 3_000_000] {
        let file = directory.path().join("body");
        let body: Vec<u8> = (0..size).map(|at: u32| u8::try_from(at % 251).unwrap()).collect();
        fs::write(&file, &body).unwrap();
        let digest = authority.openssl("dgst -sha256 -r body");
        let data = format!("@{}", file.display());
        for framing in ["Content-Type: a/b", "Transfer-Encoding: chunked"] {
            let answer = get(&authority, &server, "/", &["--data-binary", &data, "-H", framing]);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((&answer["length"], answer["sha256"].as_str()), (&size.into(), digest.split(' ').next()));
        }
    }
    server.stop();
}

#[test]
fn large_responses_and_files_arrive_whole_however_slowly_they_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
    fs::write(directory.path().join("large"), &body).unwrap();
    fs::write(directory.path().join("made.py"), LARGE).unwrap();
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let mut server = Server::start_in(directory.path(), &["--certfile", &certificate, "--keyfile", &key, "made:app"]);
    for path in ["/whole", "/pieces", "/file"] {
        for speed in ["1G", "4M"] {
            let target = authority.path("got");
            get(&authority, &server, path, &["--limit-rate", speed, "-o", &target]);
            assert!(fs::read(&target).unwrap() == body, "{path} at {speed}");
        }
    }
    server.stop();
}

const LARGE: &str = r#"
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5000000")])
    path = environ["PATH_INFO"]
    if path == "/file":
        return environ["wsgi.file_wrapper"](open("large", "rb"))
    body = open("large", "rb").read()
    return [body] if path == "/whole" else [body[at:at + 70001] for at in range(0, len(body), 70001)]
"#;

#[test]
fn keys_of_every_kind_and_in_every_form_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    for (form, command) in [
        ("PRIVATE KEY", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out site.key"),
        ("RSA PRIVATE KEY", "rsa -in site.key -traditional -out site.key"),
        ("PRIVATE KEY", "genpkey -algorithm ED25519 -out site.key"),
        ("PRIVATE KEY", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out site.key"),
        ("EC PRIVATE KEY", "ec -in site.key -out site.key"),
    ] {
        authority.openssl(command);
        let key = fs::read_to_string(directory.path().join("site.key")).unwrap();
        assert!(key.contains(&format!("-----BEGIN {form}-----")), "{key}");
        authority.sign("site", "/CN=site", "subjectAltName=IP:127.0.0.1", "-days 10");
        let mut server = start(&authority, &["hello"]);
        assert!(get(&authority, &server, "/", &[]).contains("ello"), "{form}");
        server.stop();
    }
    // Both in one file, as `cat` makes it.
    let both = ["site.key", "site.pem"].map(|name| fs::read(directory.path().join(name)).unwrap()).concat();
    fs::write(directory.path().join("both.pem"), both).unwrap();
    let mut server = Server::start(&["--certfile", &authority.path("both.pem"), "hello"]);
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    server.stop();
}

#[test]
fn versions_and_ciphers_are_those_that_are_there_and_wanted() {
    let (_directory, authority, mut server) = served(&["hello"]);
    for (words, expected) in [
        ("-tls1_2", Some("TLSv1.2")),
        ("-tls1_3", Some("TLSv1.3")),
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", None),
        ("-tls1_2 -cipher AES128-SHA", None),
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", Some("ECDHE-ECDSA-CHACHA20-POLY1305")),
        ("-alpn h2,http/1.1", Some("ALPN protocol: http/1.1")),
        ("-alpn h2", None),
        ("-servername elsewhere.test", Some("CN = site")),
        ("-noservername", Some("CN = site")),
    ] {
        let (succeeded, text) = s_client(&authority, &server, words, CLOSE);
        let said = expected.is_some_and(|expected| text.contains(expected) && text.contains("HTTP/1.1 200 OK"));
        assert_eq!(said, expected.is_some(), "{words}\n{text}");
        assert_eq!(succeeded, expected.is_some(), "{words}\n{text}");
    }
    server.stop();
    let mut server = start(&authority, &["--ssl-version", "TLSv1_3", "hello"]);
    assert!(!s_client(&authority, &server, "-tls1_2", CLOSE).0);
    assert!(s_client(&authority, &server, "-tls1_3", CLOSE).0);
    server.stop();
    let mut server = start(&authority, &["--ciphers", "ECDHE+AES128:!CHACHA20", "hello"]);
    assert!(s_client(&authority, &server, "-tls1_2", CLOSE).1.contains("ECDHE-ECDSA-AES128-GCM-SHA256"));
    assert!(!s_client(&authority, &server, "-tls1_2 -cipher CHACHA20", CLOSE).0);
    server.stop();
}

#[test]
fn a_client_that_wants_to_renegotiate_is_refused_and_nothing_else_happens() {
    let (_directory, authority, mut server) = served(&["hello"]);
    // s_client renegotiates by a line of its own, R.
    let (_, text) = s_client(&authority, &server, "-tls1_2", "R\n");
    assert!(text.contains("no renegotiation") || text.contains("RENEGOTIATING"), "{text}");
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    server.stop();
}

#[test]
fn a_session_is_resumed_by_whichever_worker_comes() {
    let (_directory, authority, mut server) = served(&["--workers", "3", "hello"]);
    let session = authority.path("session");
    for version in ["-tls1_2", "-tls1_3"] {
        s_client(&authority, &server, &format!("{version} -ign_eof -sess_out {session}"), CLOSE);
        for _ in 0..10 {
            let (_, text) = s_client(&authority, &server, &format!("{version} -ign_eof -sess_in {session}"), CLOSE);
            assert!(text.contains("Reused, "), "{version}\n{text}");
        }
    }
    server.stop();
}

#[test]
fn clients_show_certificates_and_the_application_sees_them() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    authority.key("ada.key");
    let names = "subjectAltName=email:ada@example.org,DNS:ada.test\nextendedKeyUsage=clientAuth";
    authority.sign("ada", "/C=GB/O=Engines, Ltd/OU=one/OU=two/CN=Ada Lovelace", names, "-days 10");
    let ca = authority.path("ca.pem");
    let (pem, key) = (authority.path("ada.pem"), authority.path("ada.key"));
    let shows = ["--cert", pem.as_str(), "--key", key.as_str()];

    let mut required = start(&authority, &["--ca-certs", &ca, "--cert-reqs", "2", "echo"]);
    let environ = told(&get(&authority, &required, "/", &shows));
    for (key, value) in [
        ("SSL_CLIENT_VERIFY", "SUCCESS"),
        ("SSL_CLIENT_S_DN", "CN=Ada Lovelace,OU=two,OU=one,O=Engines\\, Ltd,C=GB"),
        ("SSL_CLIENT_S_DN_CN", "Ada Lovelace"),
        ("SSL_CLIENT_S_DN_O", "Engines, Ltd"),
        ("SSL_CLIENT_S_DN_OU", "one"),
        ("SSL_CLIENT_S_DN_OU_1", "two"),
        ("SSL_CLIENT_I_DN", "CN=authority,O=rwsgi"),
        ("SSL_CLIENT_I_DN_CN", "authority"),
        ("SSL_CLIENT_SAN_Email_0", "ada@example.org"),
        ("SSL_CLIENT_SAN_DNS_0", "ada.test"),
        ("SSL_CLIENT_M_VERSION", "3"),
    ] {
        assert_eq!(environ[key], value, "{key}\n{environ}");
    }
    let printed = |what: &str| authority.openssl(&format!("x509 -in ada.pem -noout {what}"));
    let value = |text: String| text.trim().split_once('=').unwrap().1.to_owned();
    assert_eq!(environ["SSL_CLIENT_M_SERIAL"], value(printed("-serial")));
    assert_eq!(environ["SSL_CLIENT_V_START"], value(printed("-startdate")));
    assert_eq!(environ["SSL_CLIENT_V_END"], value(printed("-enddate")));
    assert_eq!(environ["SSL_CLIENT_CERT"].as_str().unwrap().trim(), fs::read_to_string(&pem).unwrap().trim());
    assert!(refused(&authority, &required, &[]), "without a certificate");
    required.stop();

    let mut optional = start(&authority, &["--ca-certs", &ca, "--cert-reqs", "1", "echo"]);
    assert_eq!(told(&get(&authority, &optional, "/", &[]))["SSL_CLIENT_VERIFY"], "NONE");
    assert_eq!(told(&get(&authority, &optional, "/", &shows))["SSL_CLIENT_S_DN_CN"], "Ada Lovelace");
    // Of an authority that nobody here knows.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::new(elsewhere.path());
    other.server("eve");
    let (pem, key) = (other.path("eve.pem"), other.path("eve.key"));
    assert!(refused(&authority, &optional, &["--cert", &pem, "--key", &key]), "of another authority");
    optional.wait_for("TLS handshake failed");
    optional.stop();
}

#[test]
fn names_of_client_certificates_are_text_whatever_type_they_have() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    let ca = authority.path("ca.pem");
    let server = start(&authority, &["--ca-certs", &ca, "--cert-reqs", "1", "echo"]);
    fs::write(directory.path().join("extension"), "extendedKeyUsage=clientAuth\n").unwrap();
    let shown = |name: &str, mask: &str, subject: &str, serial: &str| {
        authority.key(&format!("{name}.key"));
        fs::write(directory.path().join("names"), format!("[req]\nstring_mask={mask}\ndistinguished_name=dn\n[dn]\n"))
            .unwrap();
        let made = format!("req -new -utf8 -config names -key {name}.key -subj {subject} -out request");
        authority.openssl(&made);
        authority.openssl(&format!(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -extfile extension -set_serial {serial} -out {name}.pem"
        ));
        let (pem, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        told(&get(&authority, &server, "/", &["--cert", &pem, "--key", &key]))
    };
    // Of a T61String and of a BMPString, as older authorities make them.
    for (name, mask, subject, expected) in [
        ("t61", "MASK:4", "/CN=J\u{f6}rg", "J\u{f6}rg"),
        ("bmp", "MASK:2048", "/CN=J\u{f6}rg", "J\u{f6}rg"),
        ("other", "MASK:2048", "/CN=J\u{e4}rg", "J\u{e4}rg"),
        ("utf8", "utf8only", "/CN=a\nb", "a\\0Ab"),
    ] {
        let environ = shown(name, mask, subject, "7");
        assert_eq!(environ["SSL_CLIENT_VERIFY"], "SUCCESS", "{name}\n{environ}");
        assert_eq!(environ["SSL_CLIENT_S_DN_CN"], latin1(expected), "{name}\n{environ}");
        assert_eq!(environ["SSL_CLIENT_S_DN"], latin1(&format!("CN={expected}")), "{name}\n{environ}");
    }
    // RFC 5280 allows 20 bytes.
    let environ = shown("serial", "utf8only", "/CN=a", &format!("0x{}", "7f".repeat(30)));
    assert_eq!(environ["SSL_CLIENT_VERIFY"], "FAILED:the certificate cannot be read", "{environ}");
    assert!(environ["SSL_CLIENT_CERT"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"), "{environ}");
    server.wait_for("client certificate cannot be read");
}

/// The native string of a text's UTF-8.
fn latin1(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// Does curl get no response?
fn refused(authority: &Authority, server: &Server, words: &[&str]) -> bool {
    let mut command =
        tool("curl", ["-sS", "--max-time", "20", "--cacert", &authority.path("ca.pem"), &url(server, "/")]);
    let output = command.args(words).output().unwrap();
    !output.status.success() && output.stdout.is_empty()
}

#[test]
fn what_is_wrong_with_certificates_and_keys_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    authority.key("other.key");
    authority.openssl("pkey -in site.key -aes256 -passout pass:x -out locked.key");
    authority.openssl("x509 -in site.pem -outform der -out site.der");
    authority.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    authority.sign("weak", "/CN=weak", "subjectAltName=IP:127.0.0.1", "-days 10");
    authority.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4104 -out long.key");
    authority.sign("long", "/CN=long", "subjectAltName=IP:127.0.0.1", "-days 10");
    fs::write(directory.path().join("text"), "nothing\n").unwrap();
    fs::write(directory.path().join("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    fs::write(directory.path().join("hello.py"), "def application(environ, start_response): pass\n").unwrap();
    for (words, origin, text) in WRONG {
        for command in ["", "check"] {
            let words = [&[command][..], words, &["-b", "127.0.0.1:0", "hello"]].concat();
            let (code, _, stderr) = run(directory.path(), words.iter().filter(|word| !word.is_empty()));
            assert_eq!(code, 1, "{words:?}\n{stderr}");
            assert!(stderr.contains(origin) && stderr.contains(text), "{words:?}\n{stderr}");
        }
    }
}

/// Options, the setting that is to blame, and what is said of it.
const WRONG: [(&[&str], &str, &str); 13] = [
    (&["--certfile", "none.pem"], "--certfile: ", "none.pem: expected a file that can be read, found no such file"),
    (&["--certfile", "text"], "--certfile: ", "text: expected certificates in PEM, found none\nhint: "),
    (&["--certfile", "site.der"], "--certfile: ", "expected certificates in PEM, found one in DER\nhint: openssl x509"),
    (&["--certfile", "cut.pem"], "--certfile: ", "expected certificates in PEM, found a section without an END line"),
    (&["--certfile", "site.pem"], "--certfile: ", "found none, and keyfile names no other file"),
    (&["--keyfile", "site.key"], "certfile: ", "expected a file with the certificate of keyfile, found none"),
    (&["--certfile", "site.pem", "--keyfile", "text"], "--keyfile: ", "without a password, found none\nhint: "),
    (&["--certfile", "site.pem", "--keyfile", "locked.key"], "--keyfile: ", "found one with a password\nhint: openssl"),
    (
        &["--certfile", "site.pem", "--keyfile", "other.key"],
        "--keyfile: ",
        "expected the key of the certificate in certfile, found the key of another one\nhint: ",
    ),
    (&["--certfile", "weak.pem", "--keyfile", "weak.key"], "--keyfile: ", "expected a key of RSA (2048 to 4096 bits)"),
    (&["--certfile", "long.pem", "--keyfile", "long.key"], "--keyfile: ", "expected a key of RSA (2048 to 4096 bits)"),
    (
        &["--certfile", "site.pem", "--keyfile", "site.key", "--cert-reqs", "2"],
        "ca_certs: ",
        "expected a file with the authorities",
    ),
    (
        &["--certfile", "site.pem", "--keyfile", "site.key", "--cert-reqs", "2", "--ca-certs", "site.key"],
        "--ca-certs: ",
        "expected certificates in PEM, found none",
    ),
];

#[test]
fn a_certificate_that_has_expired_is_served_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.key("site.key");
    authority.sign("site", "/CN=site", "subjectAltName=IP:127.0.0.1", "-days -1");
    let mut server = start(&authority, &["hello"]);
    let log = server.stop();
    assert!(log.contains("the certificate has expired, it was valid until 20"), "{log}");
}

#[test]
fn the_master_reads_keys_that_the_application_may_not() {
    if !geteuid().is_root() {
        return;
    }
    let (_directory, authority, mut server) = served(&["--user", "nobody", "hello"]);
    let mode = fs::metadata(authority.path("site.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    server.stop();
}

#[test]
fn plain_http_gets_a_page_that_says_so() {
    let (_directory, authority, mut server) = served(&["--access-logfile", "-", "hello"]);
    let response = ask(server.port(), "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(response.status, 400);
    assert!(response.text().contains("This port speaks HTTPS"), "{}", response.text());
    server.wait_for("connection: expected TLS, found plain HTTP");
    // Noise is no HTTP, and gets what TLS has for that.
    let mut stream = server.connect();
    stream.write_all(&[0; 64]).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    server.stop();
    assert!(server.output.stdout().contains("\" 400 "), "{}", server.output.stdout());
}

#[test]
fn a_handshake_that_does_not_go_on_holds_nobody_up_and_has_an_end() {
    let (_directory, authority, mut server) = served(&["--client-header-timeout", "1", "hello"]);
    let mut stalled: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (at, stream) in stalled.iter_mut().enumerate() {
        // The beginning of a record that says how long it will be.
        stream.write_all(&[22, 3, 1, 2, 0, 1][..=(at % 6)]).unwrap();
    }
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    for stream in &mut stalled {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    server.wait_for_lines("client did not finish its TLS handshake in time", 20);
    server.stop();
}

#[test]
fn a_reload_takes_the_new_certificate_and_a_broken_one_changes_nothing() {
    let (_directory, authority, mut server) = served(&["hello"]);
    let serial = |server: &Server| {
        let (_, text) = s_client(&authority, server, "-showcerts", CLOSE);
        text.split_once("-----BEGIN").unwrap().1.split_once("-----END").unwrap().0.to_owned()
    };
    let first = serial(&server);
    authority.server("site");
    assert_eq!(serial(&server), first);
    server.signal(Signal::SIGHUP);
    server.wait_for("reload done");
    let second = serial(&server);
    assert_ne!(second, first);
    fs::write(authority.path("site.key"), "broken").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("reload failed, nothing has changed");
    assert!(server.log().contains("--keyfile: "), "{}", server.log());
    assert_eq!(serial(&server), second);
    server.stop();
}

#[test]
fn python_requests_keep_connections_and_see_the_end_of_what_is_cut() {
    let (_directory, authority, mut server) = served(&["--threads", "4", "hello"]);
    let script = r#"
import socket, ssl, sys
host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
with socket.create_connection((host, port)) as raw, context.wrap_socket(raw, server_hostname=host) as tls:
    for _ in range(50):
        tls.sendall(b"GET /?x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert tls.recv(65536).startswith(b"HTTP/1.1 ")
    tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    data = b""
    # suppress_ragged_eofs: an end without farewell would raise.
    tls.suppress_ragged_eofs = False
    while piece := tls.recv(65536):
        data += piece
    assert data.startswith(b"HTTP/1.1 "), data
"#;
    let host = server.address().split(':').next().unwrap().to_owned();
    run_tool(&mut python(["-c", script, &host, &server.port().to_string(), &authority.path("ca.pem")]));
    let script = r#"
import sys, requests
session = requests.Session()
for _ in range(20):
    assert session.get(sys.argv[1], verify=sys.argv[2]).status_code == 200
assert session.post(sys.argv[1], data=b"x" * 2_000_000, verify=sys.argv[2]).status_code == 200
"#;
    run_tool(&mut python(["-c", script, &url(&server, "/"), &authority.path("ca.pem")]));
    server.stop();
}

#[test]
fn nginx_in_front_speaks_tls_to_it() {
    let (directory, authority, mut server) = served(&["--workers", "2", "--forwarded-allow-ips", "", "echo"]);
    let configuration = format!(
        "events {{}} pid nginx.pid; http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; \n\
         fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
         upstream app {{ server {}; keepalive 4; }}\nserver {{\nlisten 127.0.0.1:80;\n\
         location / {{ proxy_pass https://app; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name site.test; proxy_ssl_server_name on; }} }} }}",
        server.address()
    );
    let nginx = Nginx::start(directory.path(), &configuration);
    for _ in 0..30 {
        let response = ask(nginx.ports()[0], "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let environ = told(&response.text());
        assert_eq!((&environ["wsgi.url_scheme"], &environ["SSL_TLS_SNI"]), (&"https".into(), &"site.test".into()));
    }
    nginx.stop();
    server.stop();
    drop(authority);
}

#[test]
fn a_request_that_times_out_is_answered_over_tls_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    fs::write(
        directory.path().join("made.py"),
        "import threading\ndef app(environ, start): threading.Event().wait()\n",
    )
    .unwrap();
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    for mode in ["soft", "hard"] {
        let words =
            ["--certfile", &certificate, "--keyfile", &key, "--timeout", "0.3", "--timeout-mode", mode, "made:app"];
        let mut server = Server::start_in(directory.path(), &words);
        let status = get(&authority, &server, "/", &["-o", "/dev/null", "-w", "%{http_code}"]);
        assert_eq!(status, "504", "{mode}");
        server.stop();
    }
}

#[test]
fn what_breaks_off_is_not_taken_for_whole() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    let app = "def app(environ, start):\n    start('200 OK', [])\n    yield b'half'\n    raise ValueError\n";
    fs::write(directory.path().join("made.py"), app).unwrap();
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let mut server = Server::start_in(directory.path(), &["--certfile", &certificate, "--keyfile", &key, "made:app"]);
    // Of HTTP/1.0: the end of the connection is the end of the body, and TLS has to say which end it is.
    let script = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[3])
context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
raw = socket.create_connection((sys.argv[1], int(sys.argv[2])))
tls = context.wrap_socket(raw, server_hostname=sys.argv[1], suppress_ragged_eofs=False)
tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
try:
    while tls.recv(65536):
        pass
except (ssl.SSLError, ConnectionResetError):
    print("broken off")
"#;
    let port = server.port().to_string();
    let said = run_tool(&mut python(["-c", script, "127.0.0.1", &port, &authority.path("ca.pem")]));
    assert_eq!(said.trim(), "broken off");
    server.stop();
}

#[test]
fn a_stop_waits_for_responses_and_not_for_handshakes() {
    let (_directory, authority, mut server) = served(&["hello"]);
    let mut stalled = server.connect();
    stalled.write_all(&[22, 3]).unwrap();
    assert!(get(&authority, &server, "/", &[]).contains("ello"));
    server.stop();
    let mut rest = Vec::new();
    assert!(stalled.read_to_end(&mut rest).is_ok_and(|count| count == 0) || rest.is_empty());
}

#[test]
fn certificates_of_a_python_configuration_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.server("site");
    let text = "import ssl\nbind = '127.0.0.1:0'\ncertfile = 'site.pem'\nkeyfile = 'site.key'\nca_certs = 'ca.pem'\n\
                cert_reqs = ssl.CERT_OPTIONAL\nssl_version = ssl.PROTOCOL_TLS_SERVER\nciphers = 'TLSv1.2'\n\
                do_handshake_on_connect = True\nsuppress_ragged_eofs = False\nwsgi_app = 'echo'\n";
    let conf = directory.path().join("gunicorn.conf.py");
    fs::write(&conf, format!("{text}pythonpath = {:?}\nchdir = {:?}\n", apps(), directory.path())).unwrap();
    let mut server = Server::start_in(Path::new("/"), &["-c", conf.to_str().unwrap()]);
    assert_eq!(told(&get(&authority, &server, "/", &[]))["HTTPS"], "on");
    server.stop();
    fs::write(&conf, format!("{text}def ssl_context(config, factory):\n    return factory()\n")).unwrap();
    let (code, _, stderr) = run(directory.path(), ["-c", conf.to_str().unwrap()]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("ssl_context: this setting of gunicorn is not planned\nhint: use certfile"), "{stderr}");
}
