//! What becomes of a connection by its handshake. It is computed elsewhere, with nothing locked.

use std::mem;
use std::os::fd::AsFd;

use crate::http::{ErrorPage, Reject};
use crate::os::socket::{self, Read};
use crate::tls::{Fault, Shaken};
use crate::worker::connection::buffer_pool::borrow;
use crate::worker::connection::{Connection, Stage};
use crate::worker::reactor::{After, Reactor};

impl Reactor<'_> {
    /// A handshake can go on, unless a PROXY header may still come: in plain text, before all TLS. What follows it is
    /// left to the session.
    pub(crate) fn shake_hands(&mut self, connection: &mut Connection) -> After {
        if !connection.awaits_proxy {
            return After::Disk;
        }
        borrow(&mut connection.input, &mut self.spare_input);
        let is_over = socket::peek(connection.stream.as_fd(), &mut connection.input) == Read::Closed;
        let there = connection.input.len();
        let taken = connection.take_proxy_header(&self.setup.proxy);
        let used = there - connection.input.len();
        connection.input.clear();
        match taken {
            Ok(true) => {
                if used > 0 {
                    // Nothing but what was looked at.
                    let _ = socket::read(connection.stream.as_fd(), &mut connection.input, used);
                    connection.input.clear();
                }
                After::Disk
            }
            Ok(false) if is_over || connection.end_told => After::Close,
            Ok(false) if self.stopping.is_none() || self.stays(connection) => After::Keep,
            Ok(false) => After::Close,
            Err(reject) => {
                connection.stream.fall_back();
                connection.stage = Stage::Head;
                self.reject(connection, &reject)
            }
        }
    }

    /// The handshake has come as far as its client let it.
    pub(crate) fn shaken(&mut self, connection: &mut Connection) -> After {
        let waiting = Stage::Handshake(Shaken::Waiting);
        let Stage::Handshake(shaken) = mem::replace(&mut connection.stage, waiting) else { return After::Close };
        match shaken {
            Shaken::Done => {
                connection.stage = Stage::Idle;
                // The request may have come with the end of the handshake.
                self.receive(connection)
            }
            Shaken::Waiting if self.stopping.is_none() || self.stays(connection) => After::Keep,
            Shaken::Waiting | Shaken::Failed(Fault::Gone) => After::Close,
            Shaken::Failed(Fault::Refused(error)) => {
                tracing::info!(peer = %connection.peer, %error, "TLS handshake failed");
                // What the client has sent since must not make the kernel drop what it was told.
                connection.stream.fall_back();
                self.linger(connection)
            }
            Shaken::Failed(Fault::Plain) => self.refuse_plain(connection),
        }
    }

    fn refuse_plain(&mut self, connection: &mut Connection) -> After {
        let reject = Reject::NoTls;
        tracing::warn!(peer = %connection.peer, status = reject.status(), reason = %reject, hint = reject.hint(), "request refused");
        connection.stream.fall_back();
        connection.stage = Stage::Head;
        let page = ErrorPage { content_type: "text/plain; charset=utf-8", body: SPEAKS_TLS };
        self.refuse_with(connection, reject.status(), Some(&page))
    }
}

const SPEAKS_TLS: &[u8] = b"400 Bad Request\nThis port speaks HTTPS: the address begins with https://\n";
