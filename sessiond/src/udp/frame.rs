//! The eight bytes in front of every datagram (memcached's protocol.txt, "UDP protocol"), and how much may be said.

use std::num::NonZeroU16;

/// Request id, sequence number, number of datagrams, nothing; 16 bits each.
const HEADER: usize = 8;

/// A reply's datagrams are at most so long, header included, so that no network on the way has to cut them.
const DATAGRAM_MAX: usize = 1400;

const PAYLOAD_MAX: usize = DATAGRAM_MAX - HEADER;

/// A reply cannot have more datagrams than it can count.
pub(super) const REPLY_MAX: usize = PAYLOAD_MAX * u16::MAX as usize;

/// The id of a request, and what it asks; `None` for what is dropped without an answer: requests of several datagrams,
/// which memcached does not take either, and those that ask nothing. The sequence number is not looked at.
pub(super) fn parse(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (header, payload) = datagram.split_first_chunk::<HEADER>()?;
    let [id_high, id_low, _, _, count_high, count_low, _, _] = *header;
    let count = u16::from_be_bytes([count_high, count_low]);
    (count == 1 && !payload.is_empty()).then_some((u16::from_be_bytes([id_high, id_low]), payload))
}

/// The datagrams of one reply, each with its header; none for an empty reply or one over [`REPLY_MAX`].
pub(super) fn reply(id: u16, reply: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let count = u16::try_from(reply.len().div_ceil(PAYLOAD_MAX)).ok();
    let count = count.and_then(NonZeroU16::new).map_or(0, NonZeroU16::get);
    let parts = reply.chunks(PAYLOAD_MAX).take(count.into());
    (0..count).zip(parts).map(move |(sequence, part)| {
        let mut datagram = Vec::with_capacity(HEADER + part.len());
        for number in [id, sequence, count, 0] {
            datagram.extend_from_slice(&number.to_be_bytes());
        }
        datagram.extend_from_slice(part);
        datagram
    })
}

/// How many bytes a reply of this length is on its way.
pub(super) fn length(reply: usize) -> usize {
    reply.saturating_add(reply.div_ceil(PAYLOAD_MAX).saturating_mul(HEADER))
}

#[cfg(test)]
mod tests {
    use super::{DATAGRAM_MAX, PAYLOAD_MAX, length, parse, reply};

    #[test]
    fn only_whole_requests_that_ask_something_are_read() {
        assert_eq!(parse(b"\x01\x02\0\0\0\x01\0\0x"), Some((0x0102, &b"x"[..])));
        assert_eq!(
            parse(b"\x01\x02\0\x09\0\x01\0\0x"),
            Some((0x0102, &b"x"[..]))
        );
        for dropped in [
            &b""[..],
            b"\0\0\0\0\0\x01\0",
            b"\0\0\0\0\0\x01\0\0",
            b"\0\0\0\0\0\x02\0\0x",
            b"\0\0\0\0\0\0\0\0x",
        ] {
            assert_eq!(parse(dropped), None, "{dropped:?}");
        }
    }

    #[test]
    fn a_reply_is_cut_and_counted() {
        for (size, datagrams) in [
            (0, 0),
            (1, 1),
            (PAYLOAD_MAX, 1),
            (PAYLOAD_MAX + 1, 2),
            (5000, 4),
        ] {
            let text = vec![b'x'; size];
            let sent: Vec<Vec<u8>> = reply(7, &text).collect();
            assert_eq!(sent.len(), datagrams, "{size}");
            assert!(sent.iter().all(|one| one.len() <= DATAGRAM_MAX));
            assert_eq!(sent.iter().map(Vec::len).sum::<usize>(), length(size));
            for (sequence, one) in sent.iter().enumerate() {
                let header = [0, 7, 0, sequence as u8, 0, datagrams as u8, 0, 0];
                assert_eq!(one[..8], header);
            }
        }
    }
}
