//! A retrieval of many keys, taken up again when it is the connection's turn and the socket has room.

use crate::command::Progress;
use crate::protocol::{Exptime, Keys, Retrieve};

use super::{Connection, Desk, enough};

/// The rest of a retrieval.
pub(super) struct Rest {
    pub(super) keys: Vec<u8>,
    /// How much of `keys` is done.
    done: usize,
    exptime: Option<Exptime>,
    with_cas: bool,
}

impl Rest {
    pub(super) fn of(left: Retrieve<'_>) -> Self {
        Self {
            keys: left.keys.as_bytes().to_vec(),
            done: 0,
            exptime: left.exptime,
            with_cas: left.with_cas,
        }
    }

    fn request(&self) -> Retrieve<'_> {
        Retrieve {
            keys: Keys::new(self.keys.get(self.done..).unwrap_or_default()),
            exptime: self.exptime,
            with_cas: self.with_cas,
        }
    }
}

impl Connection {
    /// Goes on with a retrieval.
    pub(super) fn go_on(&mut self, mut rest: Box<Rest>, desk: &mut Desk<'_>) {
        let enough = enough(desk);
        let request = rest.request();
        if let Progress::More(left) =
            desk.executor
                .execute(request.into(), &mut self.standing, enough, &mut desk.output)
        {
            let left = left.keys.as_bytes().len();
            rest.done = rest.keys.len().saturating_sub(left);
            self.rest = Some(rest);
        }
    }
}
