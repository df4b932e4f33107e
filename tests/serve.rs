//! Requests and responses over real connections: what Django, Flask and a browser rely on.

mod support;

use std::io::Write;

use support::{Response, Server};

#[test]
fn a_page_is_served_and_the_connection_is_kept() {
    let server = Server::start(&["hello"]);
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let response = Response::read(&mut stream).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "Hello, World!"));
    }
}
