//! `host[:port]` (RFC 3986 section 3.2), as in `Host` and in the authority of a target.

/// Whether it is one. An empty one is: RFC 9112 section 3.2 has clients send it where there is no authority. User names are
/// not part of it.
pub(super) fn is_valid(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let address = &rest[..end];
        let good = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
        return !address.is_empty() && address.iter().all(good) && is_port(&rest[end + 1..]);
    }
    let end = text
        .iter()
        .position(|byte| *byte == b':')
        .unwrap_or(text.len());
    text[..end].iter().all(|byte| NAME[usize::from(*byte)]) && is_port(&text[end..])
}

/// Nothing, or a colon and at most five digits.
fn is_port(text: &[u8]) -> bool {
    match text.strip_prefix(b":") {
        None => text.is_empty(),
        Some(port) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
    }
}

/// Unreserved characters, sub-delims and percent. A comma is one of them and left out: two hosts in one field are no host.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn hosts() {
        for good in [
            "",
            "a",
            "example.org",
            "example.org:80",
            "a:",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a_b",
            "%41",
            "[::ffff:1.2.3.4]",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "a,b", "a@b", "a:b", "a:123456", "[", "[]", "[::1", "[::1]x", "[x]",
            "a\\", "é", "a:1:2", "a#", "a?", "::1",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
