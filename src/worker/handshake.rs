//! What becomes of a connection by its handshake. It is computed elsewhere, with nothing locked.

use std::mem;

use super::connection::{Connection, Stage};
use super::event_loop::{After, EventLoop};
use crate::http::{ErrorPage, Reject};
use crate::tls::{Fault, Shaken};

impl EventLoop<'_> {
    /// The handshake has come as far as its client let it.
    pub(super) fn shaken(&mut self, connection: &mut Connection) -> After {
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
