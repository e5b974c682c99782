use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    item_size: 1 << 20,
    retrieval_line: 1 << 20,
};

#[test]
fn a_short_buffer_says_how_much_it_lacks() {
    let whole = b"set a 0 0 2\r\nxy\r\n";
    for cut in 1..whole.len() {
        let need = match parse(&whole[..cut], LIMITS) {
            Parsed::Incomplete { need } => need,
            Parsed::Partial { line, block } => line + block,
            _ => panic!("{cut} bytes are not a request"),
        };
        assert!(need > cut && need <= whole.len(), "{cut}: {need}");
    }
    assert!(matches!(parse(whole, LIMITS), Parsed::Complete { used, .. } if used == whole.len()));
}

#[test]
fn the_value_of_an_item_that_is_too_large_is_passed_over_unseen() {
    for (length, flags, fits) in [
        (1_048_514, 0, true),
        (1_048_515, 0, false),
        (1_048_510, 1, true),
        (1_048_511, 1, false),
    ] {
        let line = format!("set abc {flags} 0 {length}\r\n");
        match parse(line.as_bytes(), LIMITS) {
            Parsed::Partial { line: used, block } => {
                assert!(fits && used == line.len() && block == length + 2);
            }
            Parsed::Complete {
                request: Request::TooLarge { .. },
                used,
            } => assert!(!fits && used == line.len() + length + 2),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_retrievals_may_have_long_lines() {
    let long = "k ".repeat(2000);
    let parsed = |text: String| match parse(text.as_bytes(), LIMITS) {
        Parsed::Incomplete { .. } => "more",
        Parsed::Invalid {
            after: After::Close,
            ..
        } => "close",
        _ => "other",
    };
    assert_eq!(parsed(format!("get {long}")), "more");
    assert_eq!(parsed(format!("gets {long}")), "more");
    assert_eq!(parsed(format!("delete {long}")), "close");
    assert_eq!(parsed("k".repeat(LINE_MAX)), "more");
    assert_eq!(parsed(format!("get {}", "k ".repeat(1 << 20))), "close");
}

proptest! {
    /// Whatever arrives is passed over by at least a byte, or waited for with a reason; nothing panics.
    #[test]
    fn any_bytes_make_progress(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        match parse(&bytes, LIMITS) {
            Parsed::Complete { used, .. } | Parsed::Invalid { used, .. } => prop_assert!(used > 0),
            Parsed::Incomplete { need } => prop_assert!(need > bytes.len()),
            Parsed::Partial { line, block } => prop_assert!(line + block > bytes.len()),
        }
    }

    /// Words of commands in any order, which reach deeper than random bytes do.
    #[test]
    fn any_words_make_progress(words in proptest::collection::vec(
        prop_oneof![
            Just("set"), Just("cas"), Just("get"), Just("gat"), Just("incr"), Just("delete"), Just("noreply"),
            Just("0"), Just("-1"), Just("2147483645"), Just("99999999999"), Just("a"), Just("\r\n"), Just("flush_all"),
            Just("mg"), Just("ms"), Just("md"), Just("ma"), Just("me"), Just("mn"), Just("YQ=="), Just("b"), Just("k"),
            Just("T5"), Just("MA"), Just("C1"), Just("Oabc"), Just("v"), Just("q"), Just("F3"), Just("2"),
        ], 1..12))
    {
        let text = words.join(" ") + "\r\n";
        match parse(text.as_bytes(), LIMITS) {
            Parsed::Complete { used, .. } | Parsed::Invalid { used, .. } => prop_assert!(used > 0),
            Parsed::Incomplete { need } => prop_assert!(need > text.len()),
            Parsed::Partial { line, block } => prop_assert!(line + block > text.len()),
        }
    }
}
