//! The texts of `REMOTE_ADDR` and `REMOTE_PORT`. The peer of a connection is the same for all its requests, so that the texts
//! are kept for the next one.

use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyString;

/// The texts of the peers of the last requests.
pub(crate) struct PeerTexts<'py> {
    /// The texts, by port.
    kept: Vec<Option<PeerText<'py>>>,
    /// The place of the peer that was added last.
    last: usize,
}

/// The texts of one peer.
pub(crate) struct PeerText<'py> {
    address: SocketAddr,
    pub(crate) ip: Bound<'py, PyString>,
    pub(crate) port: Bound<'py, PyString>,
}

impl<'py> PeerTexts<'py> {
    pub(crate) fn new() -> PeerTexts<'py> {
        PeerTexts { kept: (0..PEERS).map(|_| None).collect(), last: 0 }
    }

    /// Returns the texts of an address, which it always has.
    pub(crate) fn of(&mut self, py: Python<'py>, address: SocketAddr) -> Option<&PeerText<'py>> {
        let place = usize::from(address.port()) % PEERS;
        if self.kept[place].as_ref().is_none_or(|kept| kept.address != address) {
            // Many peers are one proxy, which has one address.
            let last = self.kept[self.last].as_ref().filter(|last| last.address.ip() == address.ip());
            let ip = last.map_or_else(|| PyString::new(py, &address.ip().to_string()), |last| last.ip.clone());
            let port = PyString::new(py, &address.port().to_string());
            self.kept[place] = Some(PeerText { address, ip, port });
            self.last = place;
        }
        self.kept[place].as_ref()
    }
}

/// Peers whose texts are kept; more than a worker has busy connections at a time.
const PEERS: usize = 256;
