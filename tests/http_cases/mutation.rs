//! Seeded changes to requests. The same ones in every run.

/// xorshift64: the same sequence everywhere.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[2]
    }
}

/// Changes a byte, removes some, doubles some, or inserts bytes that parsers stumble over.
pub(crate) fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    // Most of a long case is filling; its start decides.
    let at = chance.below(bytes.len().min(600));
    let end = bytes.len().min(at + chance.below(8));
    match chance.below(4) {
        0 => bytes[at] = chance.byte(),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let doubled = bytes[at..end].to_vec();
            bytes.splice(at..at, doubled);
        }
        _ => {
            let word = STUMBLES[chance.below(STUMBLES.len())];
            bytes.splice(at..end, word.iter().copied());
        }
    }
    if bytes.is_empty() {
        bytes.push(b'\r');
    }
}

const STUMBLES: [&[u8]; 22] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"\"",
    b"0\r\n\r\n",
    b"\x0b",
    b"\xff",
    b"\r\n ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: +3\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"ffffffffffffffff",
    b"HTTP/1.0",
];
