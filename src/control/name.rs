//! The name of a control socket that no setting names.

use std::path::{Path, PathBuf};

use crate::settings::Bind;

/// Returns the name of the socket of a server that listens at `address` first: `127.0.0.1:8000.ctl`. A long or unusual
/// address is cut and gets a number by which it differs from others.
pub fn socket_name(address: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:-[]".contains(c);
    if address.len() <= LONGEST && address.chars().all(is_plain) {
        return format!("{address}{SUFFIX}");
    }
    let plain: Vec<char> = address.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let end: String = plain[plain.len().saturating_sub(LONGEST)..].iter().collect();
    format!("{}-{:08x}{SUFFIX}", end.trim_start_matches('_'), number(address))
}

/// Returns the address in the settings by which a server is named, or `None` if only its sockets have one. `absolute`
/// makes the path of a unix socket absolute.
pub fn address_of(bind: &[Bind], absolute: impl FnOnce(&Path) -> PathBuf) -> Option<String> {
    match bind.first()? {
        Bind::Tcp { port: 0, .. } | Bind::Fd(_) | Bind::Named(_) => None,
        Bind::Unix(path) => Some(Bind::Unix(absolute(path)).to_string()),
        address @ Bind::Tcp { .. } => Some(address.to_string()),
    }
}

/// FNV-1a, 32 bits: the same number in every version of the program.
fn number(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The end of the names of control sockets.
pub const SUFFIX: &str = ".ctl";
/// The characters of an address that a name has. A path in sockaddr_un has 107 bytes (unix(7)).
const LONGEST: usize = 32;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{address_of, socket_name};
    use crate::settings::Bind;

    #[test]
    fn a_socket_is_named_by_the_first_address() {
        assert_eq!(socket_name("127.0.0.1:8000"), "127.0.0.1:8000.ctl");
        assert_eq!(socket_name("[::1]:8000"), "[::1]:8000.ctl");
        let long = socket_name("unix:/run/a/very/long/path/of/a/socket.sock");
        assert_eq!(long, "very_long_path_of_a_socket.sock-c1fd02c9.ctl");
        assert_ne!(socket_name("unix:/a/b"), socket_name("unix:/a_b"));
    }

    #[test]
    fn an_address_that_only_the_socket_has_names_nothing() {
        let named = |text: &str| address_of(&[Bind::parse(text).unwrap()], |path| Path::new("/srv").join(path));
        assert_eq!(named("localhost:80").as_deref(), Some("localhost:80"));
        assert_eq!(named("unix:/run/site").as_deref(), Some("unix:/run/site"));
        assert_eq!(named("unix:site").as_deref(), Some("unix:/srv/site"));
        for text in ["127.0.0.1:0", "fd://3", "fd://web"] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
