//! What comes to the cluster's ports can be anything: member packages, frames and encrypted messages are read and written back the same, or
//! refused, and what is refused makes progress.

#![no_main]

use appserver::tribes::encrypt::{Algorithm, Cipher};
use appserver::tribes::frame::{Head, Parsed, frame_len, parse};
use appserver::tribes::member::Member;
use libfuzzer_sys::fuzz_target;

/// The largest frame.
const LIMIT: usize = 8192;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((member, used)) = Member::parse(bytes) {
        assert_eq!(member.package(), &bytes[..used]);
    }
    let mut rest = bytes;
    loop {
        match parse(rest, LIMIT) {
            Ok(Parsed::Message(frame, used)) => {
                assert_eq!(used, frame_len(frame.sender.len(), frame.message.len()));
                let head = Head {
                    options: frame.options,
                    timestamp: frame.timestamp,
                    id: frame.id,
                    sender: frame.sender,
                };
                let mut out = Vec::new();
                head.write(&mut out, |out| out.extend_from_slice(frame.message));
                assert_eq!(out, &rest[..used]);
                if let Ok(sender) = frame.sender() {
                    assert_eq!(sender.package(), frame.sender);
                }
                rest = &rest[used..];
            }
            Ok(Parsed::Answer(_, used) | Parsed::Junk(used)) => {
                assert!(used > 0);
                rest = &rest[used..];
            }
            Ok(Parsed::Incomplete(whole)) => {
                assert!(whole > rest.len());
                break;
            }
            Err(_) => break,
        }
    }
    let mut work = Vec::new();
    for algorithm in [Algorithm::Gcm, Algorithm::Cbc] {
        let cipher = Cipher::new(algorithm, &[7; 16], true).expect("16 bytes");
        let opened = cipher.decrypt(bytes, &mut work);
        assert!(opened.is_err() || algorithm == Algorithm::Cbc);
        let mut sent = Vec::new();
        cipher.encrypt([9; 16], 5, bytes, &mut sent);
        let opened = cipher.decrypt(&sent, &mut work).expect("what was encrypted");
        assert_eq!((opened.time, opened.message), (Some(5), bytes));
    }
});
