//! What clients ask and what they are answered, as values. How they look on the wire is the business of the rooms:
//! [`text`] for memcached's classic text protocol, [`meta`] for the meta commands in it, [`login`] for what comes before both
//! where clients must authenticate, [`binary`] for the binary protocol, [`output`] for what is written.
//!
//! A parser gets a buffer and says what it found at its beginning; it does no I/O and knows no store. Words such as
//! flags, exptime and cas unique are those of memcached's `protocol.txt`.

pub mod binary;
pub mod login;
pub mod meta;
pub mod output;
pub mod text;

/// A key has at most so many bytes.
pub const KEY_MAX: usize = 250;

/// What a parser found at the beginning of a buffer.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A whole request. `used` bytes belong to it; when that is more than the buffer holds, the rest is to be thrown
    /// away as it arrives (the value of an item that is too large).
    Complete {
        /// What is asked.
        request: Request<'a>,
        /// How many bytes it takes.
        used: usize,
    },
    /// The request is not all there yet: ask again with at least `need` bytes.
    Incomplete {
        /// The length of the buffer below which asking again is pointless.
        need: usize,
    },
    /// The line of a storage command, without all of the data block that follows: ask again with at least
    /// `line + block` bytes, or with both apart ([`text::parse_split`], [`binary::parse_split`]).
    Partial {
        /// The length of the line with its end; of a packet, of all before the value.
        line: usize,
        /// The length of the data block with its CR LF; of a packet, of the value.
        block: usize,
    },
    /// Nothing that can be executed.
    Invalid {
        /// What the client is told; `None` when it asked not to be.
        reply: Option<&'static str>,
        /// How many bytes to pass over, as in [`Parsed::Complete`].
        used: usize,
        /// What becomes of the connection.
        after: After,
    },
}

/// What becomes of a connection after a request that was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request is read.
    Continue,
    /// It is closed: what follows cannot be told apart from data.
    Close,
}

/// A request. Keys and values are slices of the buffer it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Request<'a> {
    /// get, gets, gat, gats.
    Retrieve(Retrieve<'a>),
    /// set, add, replace, append, prepend, cas.
    Store(Store<'a>),
    /// A storage command whose data block is not as long as announced; the line's end is missing behind it.
    BadChunk {
        /// The item's key.
        key: &'a [u8],
        /// Whether that is told.
        noreply: bool,
    },
    /// A storage command whose value is larger than an item may be; the value itself is passed over.
    TooLarge {
        /// What was to be stored where.
        mode: StoreMode,
        /// The item's key.
        key: &'a [u8],
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// delete.
    Delete {
        /// The item's key.
        key: &'a [u8],
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// incr, decr.
    Arithmetic {
        /// Up or down.
        direction: Direction,
        /// The item's key.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// touch.
    Touch {
        /// The item's key.
        key: &'a [u8],
        /// Its new exptime.
        exptime: Exptime,
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// flush_all.
    FlushAll {
        /// When; 0 and less is now; `None` when it is not a number, which only those who may flush are told.
        delay: Option<Exptime>,
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// cache_memlimit, lru_crawler, watch, ...
    Admin {
        /// What is to be done.
        command: text::admin::Command,
        /// Whether the outcome is told.
        noreply: bool,
    },
    /// version.
    Version,
    /// stats.
    Stats {
        /// The words behind it: the group and what belongs to it; none for the general figures.
        words: &'a [u8],
    },
    /// mg, ms, md, ma, mn, me.
    Meta(meta::Command<'a>),
    /// A packet of the binary protocol.
    Binary(binary::Packet<'a>),
    /// Authentication in the text protocol.
    Login(login::Login<'a>),
    /// quit.
    Quit,
}

/// Which items to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retrieve<'a> {
    /// The keys, in the order asked.
    pub keys: Keys<'a>,
    /// The exptime to give to each item found (gat, gats).
    pub exptime: Option<Exptime>,
    /// Whether the cas uniques are sent too (gets, gats).
    pub with_cas: bool,
}

impl<'a> From<Retrieve<'a>> for Request<'a> {
    fn from(retrieve: Retrieve<'a>) -> Self {
        Self::Retrieve(retrieve)
    }
}

/// What to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'a> {
    /// On which condition, and how.
    pub mode: StoreMode,
    /// The item's key.
    pub key: &'a [u8],
    /// The client's own flags, kept and given back.
    pub flags: u32,
    /// When it expires.
    pub exptime: Exptime,
    /// Its value.
    pub value: &'a [u8],
    /// Whether the outcome is told.
    pub noreply: bool,
}

/// On which condition something is stored, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Always.
    Set,
    /// If the key is absent.
    Add,
    /// If the key is present.
    Replace,
    /// Behind the present value.
    Append,
    /// In front of the present value.
    Prepend,
    /// If the item's cas unique is still this one.
    Cas(u64),
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// incr: wraps around at 2^64.
    Increment,
    /// decr: stops at 0.
    Decrement,
}

/// An expiry as a client sends it: 0 never, negative at once, up to 30 days from now, above that Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exptime(pub i32);

/// The keys of a retrieval: words of the line, each already found to be short enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// Keys that another [`Keys`] has left.
    pub(crate) fn new(words: &'a [u8]) -> Self {
        Self(words)
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        text::word(self.0).is_none()
    }

    /// The words as they were sent.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (key, rest) = text::word(self.0)?;
        self.0 = rest;
        Some(key)
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// The last item of a retrieval, or the last figure, was sent.
    End,
    /// Stored as asked.
    Stored,
    /// The condition of add, replace, append or prepend is not met.
    NotStored,
    /// The item's cas unique is another one.
    Exists,
    /// No such item.
    NotFound,
    /// Deleted.
    Deleted,
    /// Given a new exptime.
    Touched,
    /// Done.
    Done,
    /// The figures were set to zero.
    Reset,
    /// The new value of a counter.
    Number(u64),
    /// The version of memcached whose behaviour this is.
    Version(&'static str),
    /// incr or decr of what is not a number.
    NotANumber,
    /// The item is larger than one may be.
    TooLarge,
    /// There is no room, and none can be made.
    OutOfMemory,
    /// It is not done, for the reason that this line tells.
    Refused(&'static str),
    /// Not understood.
    Unknown,
}
