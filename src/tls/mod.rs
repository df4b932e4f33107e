//! TLS, by rustls: certificates and keys from files, and one session over a socket. It never blocks and knows no HTTP.
//!
//! | file | content |
//! |---|---|
//! | `material` | the contents of certificate and key files, in the form that a zygote receives |
//! | `files` | reading and checking of these files, by the master |
//! | `problem` | error messages |
//! | `identity` | rustls's configuration of the server |
//! | `session` | handshake, reading and writing of one connection |
//! | `names` | names in certificates, as texts |
//! | `variables` | the variables of the environ, by mod_ssl's names |

mod files;
mod identity;
mod material;
mod names;
mod problem;
mod session;
mod variables;

pub use identity::Identity;
pub use material::Material;
pub use problem::TlsProblem;
pub use session::{Fault, Session, Shaken};
pub use variables::Variables;
