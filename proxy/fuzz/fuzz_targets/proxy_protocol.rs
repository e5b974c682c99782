//! Any bytes give a verdict; a header that is taken is taken whole, and no prefix of it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::proxy_protocol::{Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    if let Parsed::Complete { used, .. } = parse(bytes) {
        assert_eq!(parse(&bytes[..used]), parse(bytes));
        for end in 0..used {
            assert_eq!(parse(&bytes[..end]), Parsed::Incomplete);
        }
    }
});
