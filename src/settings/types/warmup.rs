//! A request that the server makes itself before it serves clients.

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::Text;

/// A path with its query, or a URL with scheme and host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmupRequest {
    text: String,
}

impl WarmupRequest {
    /// Returns the target: the path and the query, never empty.
    pub fn target(&self) -> &str {
        let (_, rest) = self.parts();
        rest.find('/').map_or("/", |at| &rest[at..])
    }

    /// Returns the value of the Host field.
    pub fn host(&self) -> &str {
        let (scheme, rest) = self.parts();
        let end = rest.find('/').unwrap_or(rest.len());
        if scheme.is_some() { &rest[..end] } else { "localhost" }
    }

    /// True if the request is made as if a proxy had received it over TLS.
    pub fn is_https(&self) -> bool {
        self.parts().0 == Some("https")
    }

    fn parts(&self) -> (Option<&str>, &str) {
        match self.text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            _ => (None, &self.text),
        }
    }
}

impl Text for WarmupRequest {
    const EXPECTED: &'static str = "a path such as /polls/, or a URL with http:// or https://";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let request = WarmupRequest { text: text.to_owned() };
        let is_url = request.parts().0.is_some() && !request.host().is_empty();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_request = is_plain && (is_url || text.starts_with('/'));
        is_request.then_some(request).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        self.text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_url_says_what_to_ask_for() {
        let cases = [
            ("/polls/?page=2", "localhost", "/polls/?page=2", false),
            ("http://www.example.com:81/a", "www.example.com:81", "/a", false),
            ("https://example.com", "example.com", "/", true),
            ("/redirect?to=http://other/", "localhost", "/redirect?to=http://other/", false),
        ];
        for (text, host, target, is_https) in cases {
            let request = WarmupRequest::parse(text).unwrap();
            assert_eq!((request.host(), request.target(), request.is_https()), (host, target, is_https), "{text}");
            assert_eq!(request.text(), text);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "polls/", "ftp://example.com/", "http://", "http:///", "/a b", "/caf\u{e9}", "/a\r\nHost: x"] {
            assert!(WarmupRequest::parse(text).is_err(), "{text:?}");
        }
    }
}
