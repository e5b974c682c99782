//! Whatever arrives is passed over by at least a byte, or waited for with a reason; what is complete is not taken for
//! something else while it was arriving.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::Parsed;
use sessiond::protocol::text::{Limits, parse};

const LIMITS: Limits = Limits {
    item_size: 4096,
    retrieval_line: 8192,
};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while !rest.is_empty() {
        let used = match parse(rest, LIMITS) {
            Parsed::Complete { used, .. } | Parsed::Invalid { used, .. } => used,
            Parsed::Incomplete { need } => {
                assert!(need > rest.len());
                return;
            }
            Parsed::Partial { line, block } => {
                assert!(line <= rest.len() && line + block > rest.len());
                return;
            }
        };
        assert!(used > 0);
        match parse(&rest[..1.max(used.min(rest.len()) / 2)], LIMITS) {
            Parsed::Incomplete { need } => assert!(need <= used),
            Parsed::Partial { line, block } => assert!(line + block <= used),
            Parsed::Complete { .. } | Parsed::Invalid { .. } => {}
        }
        rest = &rest[used.min(rest.len())..];
    }
});
