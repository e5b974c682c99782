//! The shared key against what a Tomcat's EncryptInterceptor sent; any bytes are decrypted or refused; nothing is taken twice.

use appserver::tribes::encrypt::{
    Algorithm, Cipher, DecryptError, IV_MAX, KeyError, ReplayWindow, Seen,
};
use proptest::prelude::*;

fn bytes(digits: &str) -> Vec<u8> {
    let digits = digits.trim_start_matches('-');
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn messages_of_tomcat_are_decrypted_and_encrypted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tribes/encrypted.txt");
    let text = std::fs::read_to_string(path).expect("readable");
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let &[algorithm, key, time, message, sent] = &words[..] else {
            panic!("{line}")
        };
        let algorithm = Algorithm::from_name(algorithm).expect(algorithm);
        let cipher = Cipher::new(algorithm, &bytes(key), true).expect("a key");
        let (message, sent) = (bytes(message), bytes(sent));
        let time: u64 = time.parse().expect("a number");
        let mut work = Vec::new();
        let opened = cipher.decrypt(&sent, &mut work).expect(line);
        assert_eq!(
            (opened.time, opened.message),
            (Some(time), &message[..]),
            "{line}"
        );
        let mut iv = [0; IV_MAX];
        let len = algorithm.iv_len();
        iv[..len].copy_from_slice(&sent[..len]);
        let mut out = Vec::new();
        cipher.encrypt(iv, time, &message, &mut out);
        assert_eq!(out, sent, "{line}");
        assert_eq!(cipher.encrypted_len(message.len()), sent.len(), "{line}");
        assert_eq!(cipher.iv(&sent), &sent[..len]);
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn a_key_has_16_24_or_32_bytes() {
    for len in 0..40 {
        let key = vec![1; len];
        for algorithm in [Algorithm::Gcm, Algorithm::Cbc] {
            let cipher = Cipher::new(algorithm, &key, true).map(drop);
            let expected = match len {
                16 | 24 | 32 => Ok(()),
                _ => Err(KeyError(len)),
            };
            assert_eq!(cipher, expected);
        }
    }
}

#[test]
fn a_message_is_taken_once_and_while_it_is_young() {
    const NOW: u64 = 1_000_000;
    let mut window = ReplayWindow::new(10_000, 3);
    for (iv, sent, now, seen) in [
        (1, NOW, NOW, Seen::Never),
        (1, NOW, NOW, Seen::Before),
        (1, NOW + 1, NOW + 1, Seen::Before),
        (2, NOW - 10_001, NOW, Seen::Unknown),
        (2, NOW + 10_001, NOW, Seen::Unknown),
        (2, NOW - 10_000, NOW, Seen::Never),
        (3, NOW + 10_000, NOW, Seen::Never),
        // Three are remembered: the first is forgotten, and what is not younger than it refused.
        (4, NOW + 1, NOW + 1, Seen::Never),
        (1, NOW, NOW + 1, Seen::Unknown),
        (5, NOW, NOW + 1, Seen::Unknown),
        (6, NOW + 2, NOW + 2, Seen::Never),
    ] {
        let taken = window.take(&[iv; 12], sent, now);
        assert_eq!(taken, seen, "{iv} {sent} {now}");
    }
}

proptest! {
    #[test]
    fn messages_come_back_and_changed_ones_do_not(message in any::<Vec<u8>>(), key in any::<[u8; 32]>(), long in 0usize..3,
        iv in any::<[u8; 16]>(), time in any::<u64>(), timed in any::<bool>(), gcm in any::<bool>(), flip in any::<(u8, u16)>()) {
        let algorithm = if gcm { Algorithm::Gcm } else { Algorithm::Cbc };
        let cipher = Cipher::new(algorithm, &key[..16 + 8 * long], timed).expect("a key");
        let mut sent = Vec::new();
        cipher.encrypt(iv, time, &message, &mut sent);
        prop_assert_eq!(sent.len(), cipher.encrypted_len(message.len()));
        let mut work = vec![1, 2, 3];
        let opened = cipher.decrypt(&sent, &mut work).expect("what was encrypted");
        prop_assert_eq!((opened.time, opened.message), (timed.then_some(time), &message[..]));
        let at = usize::from(flip.1) % sent.len();
        sent[at] ^= flip.0 | 1;
        let changed = cipher.decrypt(&sent, &mut work);
        if gcm {
            prop_assert_eq!(changed, Err(DecryptError));
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in any::<Vec<u8>>(), gcm in any::<bool>()) {
        let algorithm = if gcm { Algorithm::Gcm } else { Algorithm::Cbc };
        let cipher = Cipher::new(algorithm, &[7; 16], true).expect("a key");
        let mut work = Vec::new();
        let opened = cipher.decrypt(&bytes, &mut work);
        prop_assert!(!gcm || opened.is_err());
    }

    #[test]
    fn nothing_is_taken_twice(messages in proptest::collection::vec((0u8..20, 0u64..3), 1..200), count in 1usize..8) {
        let mut window = ReplayWindow::new(40, count);
        let mut taken = std::collections::HashSet::new();
        let mut now = 1000;
        for (iv, pause) in messages {
            now += pause;
            // A recorded message has the time that it had: the same vector, the same time.
            let sent = 1000 + u64::from(iv) * 5;
            if window.take(&[iv; 16], sent, now) == Seen::Never {
                prop_assert!(taken.insert(iv), "{iv} is taken twice");
            }
        }
    }
}
