//! A head that is let through is read by the HTTP library in the same way, and no prefix of it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::head::{Checked, Limits, check};

const LIMITS: Limits = Limits {
    line: 1024,
    head: 4096,
    fields: 32,
};

fuzz_target!(|bytes: &[u8]| {
    let Checked::Complete(head) = check(bytes, &LIMITS) else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(head.len)));
    assert_eq!(request.path.map(str::as_bytes), Some(&bytes[head.target]));
    for end in 0..head.len {
        assert_eq!(check(&bytes[..end], &LIMITS), Checked::Incomplete);
    }
});
