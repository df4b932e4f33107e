//! A network of IP addresses. Parses no text, knows no trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses with a common prefix (RFC 4632, RFC 4291 section 2.3). A single address is a network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// All addresses.
    pub const ALL: [Network; 2] = [
        Network { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 },
        Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 },
    ];

    /// Returns the network of the addresses that share the first `prefix` bits of `address`, or `None` if it has fewer bits.
    ///
    /// A network of IPv4-mapped addresses (RFC 4291 section 2.5.5.2) is that of the IPv4 addresses.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Network> {
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix >= MAPPED => (v4, prefix - MAPPED),
            _ => (address, prefix),
        };
        let (bits, width) = bits(address);
        let first = bits & mask(prefix, width);
        let address = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(first).ok()?)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        (u32::from(prefix) <= width).then_some(Network { address, prefix })
    }

    /// Returns the network's first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the number of bits that its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// True if `peer` is in the network. A listener on `[::]` sees IPv4 peers as IPv4-mapped addresses; they count as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(peer.to_canonical());
        width == other_width && (own ^ other) & mask(self.prefix, width) == 0
    }
}

/// Returns an address as a number, and its width in bits.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), Ipv4Addr::BITS),
        IpAddr::V6(address) => (address.to_bits(), Ipv6Addr::BITS),
    }
}

/// Returns a mask of the first `prefix` of `width` bits.
fn mask(prefix: u8, width: u32) -> u128 {
    let behind = width.saturating_sub(u32::from(prefix));
    u128::MAX.checked_shl(behind).unwrap_or(0)
}

/// The prefix of the IPv4-mapped addresses, `::ffff:0:0/96`.
const MAPPED: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix: u8) -> Option<Network> {
        Network::around(address.parse().unwrap(), prefix)
    }

    #[test]
    fn a_network_holds_the_addresses_of_its_prefix_and_family() {
        for (address, prefix, inside, outside) in [
            ("10.0.0.0", 8, "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1", 32, "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", 32, "::ffff:127.0.0.1", "::127.0.0.1"),
            ("0.0.0.0", 0, "255.1.2.3", "::"),
            ("::", 0, "ffff::1", "1.2.3.4"),
            ("::", 0, "::1", "::ffff:1.2.3.4"),
            ("2001:db8::", 33, "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", 128, "::1", "::"),
            ("::ffff:10.0.0.0", 104, "10.9.9.9", "::ffff:11.0.0.0"),
            ("::ffff:0:0", 96, "9.9.9.9", "::1"),
        ] {
            let network = network(address, prefix).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {address}/{prefix}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} not in {address}/{prefix}");
        }
        for peer in ["1.2.3.4", "::ffff:1.2.3.4", "::1"] {
            assert!(Network::ALL.iter().any(|network| network.contains(peer.parse().unwrap())), "{peer}");
        }
    }

    #[test]
    fn a_network_has_no_bits_behind_its_prefix_and_no_more_than_an_address() {
        for (address, prefix, first) in [
            ("10.1.2.3", 8, "10.0.0.0"),
            ("::1", 127, "::"),
            ("::ffff:10.1.2.3", 112, "10.1.0.0"),
            ("1.2.3.4", 0, "0.0.0.0"),
        ] {
            assert_eq!(network(address, prefix).unwrap().address().to_string(), first, "{address}/{prefix}");
        }
        for (address, prefix) in [("10.0.0.0", 33), ("10.0.0.0", 255), ("::", 129), ("::ffff:10.0.0.0", 129)] {
            assert_eq!(network(address, prefix), None, "{address}/{prefix}");
        }
    }
}
