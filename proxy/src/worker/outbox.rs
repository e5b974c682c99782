//! Small messages of some tasks of a worker, sent together.
//!
//! While tasks run, what they send is only put down here; then it goes out in one row, first what is for peers, then what
//! is for clients. A process at the other end that serves many connections (a peer, a proxy in front) is woken once for
//! the row instead of again and again between our own work, and the code that decides and the kernel's way out do not
//! push each other out of the processor's caches. Large messages, and what follows them, are sent at once.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::pool::Moved;

/// Messages no longer than this are put down.
pub(crate) const SMALL: usize = 4096;

/// So many bytes are sent without waiting for the end of the turn.
const FULL: usize = 256 * 1024;

/// How long the end of a message is kept for a connection that is closed and does not take it (ms).
const KEPT: u64 = 5000;

/// What a socket and its messages on the way share.
pub(crate) struct Link {
    pub(crate) fd: OwnedFd,
    /// Its slot in the reactor.
    pub(crate) slot: u32,
    /// It leads to a peer.
    pub(crate) to_peer: bool,
    /// Bytes that went through.
    pub(crate) moved: Cell<Moved>,
    /// Messages of it are put down here.
    pub(crate) queued: Cell<bool>,
    /// Nothing large was sent since something was received, so that there is room for a small message.
    pub(crate) light: Cell<bool>,
    /// The socket is dropped; the descriptor lives until its messages are sent.
    pub(crate) closed: Cell<bool>,
}

/// What sending a message has shown.
pub(crate) enum Sent {
    /// It is gone.
    Whole,
    /// There was no room for all of it.
    Short,
    /// The connection is broken.
    Broken,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
    returned: Vec<Returned>,
}

struct Letter {
    link: Rc<Link>,
    start: usize,
    end: usize,
}

/// What there was no room for.
struct Returned {
    link: Rc<Link>,
    rest: Vec<u8>,
    until: u64,
}

impl Link {
    pub(crate) fn count_sent(&self, sent: usize) {
        let mut moved = self.moved.get();
        moved.sent += sent as u64;
        self.moved.set(moved);
    }

    /// Sends what it can of `bytes`; how much is left.
    fn send(&self, mut bytes: &[u8]) -> (Sent, usize) {
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.count_sent(sent);
                    bytes = &bytes[sent..];
                    let sent = if bytes.is_empty() {
                        Sent::Whole
                    } else {
                        Sent::Short
                    };
                    return (sent, bytes.len());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return (Sent::Short, bytes.len()),
                Err(_) => return (Sent::Broken, bytes.len()),
            }
        }
    }
}

impl Outbox {
    /// Puts a message down. True when it is time to send.
    pub(crate) fn put<'a>(
        &mut self,
        link: &Rc<Link>,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        link.queued.set(true);
        self.letters.push(Letter {
            link: Rc::clone(link),
            start,
            end: self.bytes.len(),
        });
        self.bytes.len() >= FULL
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.returned.is_empty()
    }

    /// Sends everything; what has no room is kept, for the next call. `writable` tells whether it is worth trying again,
    /// `report` hears what else there is to know about a connection.
    pub(crate) fn post(
        &mut self,
        now: u64,
        writable: impl Fn(&Link) -> bool,
        report: impl Fn(&Link, Sent),
    ) {
        self.returned.retain_mut(|returned| {
            let link = &returned.link;
            if !link.closed.get() && !writable(link) {
                return true;
            }
            let (sent, left) = link.send(&returned.rest);
            returned.rest.drain(..returned.rest.len() - left);
            let keep = matches!(sent, Sent::Short) && !(link.closed.get() && returned.until <= now);
            link.queued.set(keep);
            report(link, sent);
            keep
        });
        for to_peer in [true, false] {
            for letter in self.letters.iter().filter(|l| l.link.to_peer == to_peer) {
                let link = &letter.link;
                let bytes = &self.bytes[letter.start..letter.end];
                let (sent, left) = link.send(bytes);
                if matches!(sent, Sent::Whole) {
                    link.queued.set(false);
                    continue;
                }
                link.light.set(false);
                link.queued.set(matches!(sent, Sent::Short));
                if link.queued.get() {
                    self.returned.push(Returned {
                        link: Rc::clone(link),
                        rest: bytes[bytes.len() - left..].to_vec(),
                        until: now + KEPT,
                    });
                }
                report(link, sent);
            }
        }
        self.letters.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use super::{KEPT, Link, Outbox, Sent};

    /// A link, and the other end of its connection.
    fn link(to_peer: bool) -> (Rc<Link>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("set");
        far.set_nonblocking(true).expect("set");
        let link = Link {
            fd: near.into(),
            slot: 0,
            to_peer,
            moved: Cell::default(),
            queued: Cell::new(false),
            light: Cell::new(true),
            closed: Cell::new(false),
        };
        (Rc::new(link), far)
    }

    fn put(outbox: &mut Outbox, link: &Rc<Link>, message: &[u8]) {
        outbox.put(link, [message].into_iter());
    }

    fn read(far: &mut UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        // It ends with "would block".
        let _ = far.read_to_end(&mut all);
        all
    }

    #[test]
    fn messages_wait_and_go_out_whole() {
        let mut outbox = Outbox::default();
        let (client, mut at_client) = link(false);
        let (peer, mut at_peer) = link(true);
        outbox.put(&client, [&b"one "[..], b"message"].into_iter());
        put(&mut outbox, &peer, b"another");
        assert_eq!((read(&mut at_client), read(&mut at_peer)), (vec![], vec![]));
        outbox.post(0, |_| true, |_, _| panic!("nothing to report"));
        assert_eq!(read(&mut at_client), b"one message");
        assert_eq!(read(&mut at_peer), b"another");
        assert!(outbox.is_empty() && !client.queued.get());
        assert_eq!(peer.moved.get().sent, 7);
    }

    #[test]
    fn what_has_no_room_is_sent_when_there_is_room_even_after_the_close() {
        let mut outbox = Outbox::default();
        let (client, mut at_client) = link(false);
        let mut sent = 0;
        while !client.queued.get() {
            put(&mut outbox, &client, &[7; 3000]);
            sent += 3000;
            outbox.post(0, |_| true, |_, _| {});
        }
        assert!(!client.light.get());
        client.closed.set(true);
        let mut received = read(&mut at_client).len();
        outbox.post(1, |_| false, |_, _| {});
        received += read(&mut at_client).len();
        assert_eq!(received, sent);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_closed_connection_that_takes_nothing_is_given_up_in_time() {
        let mut outbox = Outbox::default();
        let (client, _at_client) = link(false);
        while !client.queued.get() {
            put(&mut outbox, &client, &[7; 3000]);
            outbox.post(0, |_| true, |_, _| {});
        }
        client.closed.set(true);
        outbox.post(KEPT - 1, |_| true, |_, _| {});
        assert!(!outbox.is_empty());
        outbox.post(KEPT, |_| true, |_, _| {});
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_broken_connection_is_reported() {
        let mut outbox = Outbox::default();
        let (peer, at_peer) = link(true);
        drop(at_peer);
        put(&mut outbox, &peer, b"request");
        let broken = RefCell::new(false);
        outbox.post(
            0,
            |_| true,
            |_, sent| {
                broken.replace(matches!(sent, Sent::Broken));
            },
        );
        assert!(broken.into_inner() && outbox.is_empty());
        assert_eq!(peer.moved.get().sent, 0);
    }
}
