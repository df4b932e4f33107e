//! Pieces of requests, and what is looked for in responses.

use std::io::Read;

use serde_json::Value;

use super::Response;

/// The rest of a head, and a body with a Content-Length.
pub fn counted(body: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The rest of a head, and a body in chunks.
pub fn chunked(pieces: &[&str]) -> String {
    let chunks =
        pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len()));
    format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.collect::<String>())
}

/// The body, as JSON.
pub fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{}{}", response.head, response.text()))
}

/// The server has closed its side, in good order, and nothing more came.
pub fn assert_ended(stream: &mut impl Read) {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(matches!(read, Ok(0)), "expected the end, found {read:?}: {}", rest.escape_ascii());
}
