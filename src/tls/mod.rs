//! TLS, by rustls: certificates and keys from files, and one session over a socket. It never blocks and knows no HTTP.
//!
//! | file | what it is |
//! |---|---|
//! | `files` | certificates and keys, read by the master and checked, in the form in which a zygote gets them |
//! | `problem` | what is wrong with them, in words |
//! | `identity` | what a server shows and asks for: rustls's configuration |
//! | `session` | one connection's handshake, reading and writing |
//! | `variables` | what an application is told of a connection, by mod_ssl's names |

mod files;
mod identity;
mod problem;
mod session;
mod variables;

pub use files::Material;
pub use identity::Identity;
pub use problem::Problem;
pub use session::{Fault, Session, Shaken};
pub use variables::Variables;
