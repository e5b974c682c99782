//! Tribes' bytes against what a Tomcat 10.1.60 wrote, both ways; any bytes are read or refused; what is written is read back the same.

#[path = "support/tribes.rs"]
mod tribes;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use appserver::tribes::frame::{self, Answer, Frame, FrameError, Head, PROBE, Parsed, parse};
use appserver::tribes::member::{Member, MemberId, PackageError};
use appserver::tribes::options::SendOptions;
use proptest::prelude::*;
use tribes::captured;

const LIMIT: usize = 64 << 20;

#[test]
fn heartbeats_of_tomcat_are_read_and_written() {
    for (name, host, alive, command, domain, id) in [
        (
            "heartbeat",
            90,
            8270,
            "",
            "",
            "52c39ddb703d44618fc1515b2a92b1f6",
        ),
        (
            "heartbeat-domain",
            91,
            1086,
            "",
            "lab",
            "f1629fbd49af45cba01f9ba540b53de0",
        ),
        (
            "heartbeat-shutdown",
            91,
            36121,
            "BABY-ALEX",
            "",
            "ff33f438d7b94f13a04ac4726cc60ca0",
        ),
    ] {
        let bytes = captured(name);
        let (member, used) = Member::parse(&bytes).expect(name);
        assert_eq!(used, bytes.len(), "{name}");
        assert_eq!(
            member.address().to_string(),
            format!("192.168.23.{host}:4000"),
            "{name}"
        );
        assert_eq!(
            (member.alive, member.id.to_string().as_str()),
            (alive, id),
            "{name}"
        );
        assert_eq!(*member.command, *command.as_bytes(), "{name}");
        assert_eq!(*member.domain, *domain.as_bytes(), "{name}");
        assert_eq!(
            (member.secure_port, member.udp_port),
            (None, None),
            "{name}"
        );
        assert_eq!(member.is_leaving(), !command.is_empty(), "{name}");
        assert!(!member.is_native(), "{name}");
        assert_eq!(member.package(), bytes, "{name}");
        assert_eq!(member.package_len(), bytes.len(), "{name}");
    }
}

#[test]
fn frames_of_tomcat_are_read_and_written() {
    for (name, options, message_len, host) in [
        ("failure-probe", 1, 64, 90),
        ("session-created", 8, 398, 90),
        ("get-all-sessions", 8, 329, 91),
        ("peer-created", 6, 432, 80),
        ("delta-string", 8, 562, 91),
    ] {
        let bytes = captured(name);
        let Ok(Parsed::Message(frame, used)) = parse(&bytes, LIMIT) else {
            panic!("{name}: {:?}", parse(&bytes, LIMIT));
        };
        assert_eq!(used, bytes.len(), "{name}");
        assert_eq!(frame.options.bits(), options, "{name}");
        assert_eq!(frame.message.len(), message_len, "{name}");
        assert_eq!(frame.is_probe(), name == "failure-probe");
        let sender = frame.sender().expect(name);
        assert_eq!(sender.host, IpAddr::from([192, 168, 23, host]), "{name}");
        assert_eq!(written(&frame), bytes, "{name}");
        assert_eq!(
            frame::frame_len(frame.sender.len(), frame.message.len()),
            bytes.len()
        );
        for end in 0..bytes.len() {
            let part = parse(&bytes[..end], LIMIT);
            assert!(
                matches!(part, Ok(Parsed::Incomplete(_))),
                "{name} {end}: {part:?}"
            );
        }
    }
    let ack = captured("ack");
    assert_eq!(ack, frame::ACK);
    assert_eq!(parse(&ack, 3), Ok(Parsed::Answer(Answer::Ack, 21)));
    let failed = parse(&frame::FAILED_ACK, 3);
    assert_eq!(failed, Ok(Parsed::Answer(Answer::Failed, 21)));
}

fn written(frame: &Frame<'_>) -> Vec<u8> {
    let head = Head {
        options: frame.options,
        timestamp: frame.timestamp,
        id: frame.id,
        sender: frame.sender,
    };
    let mut out = Vec::new();
    head.write(&mut out, |out| out.extend_from_slice(frame.message));
    out
}

#[test]
fn junk_is_skipped_up_to_the_next_frame() {
    let probe = captured("failure-probe");
    for (junk, skipped) in [
        (&b""[..], 0),
        (b"x", 1),
        (b"GET / HTTP/1.1\r\n\r\n", 18),
        (b"FLT200FLT2001F", 14),
        (b"FLT", 3),
    ] {
        let bytes = [junk, &probe].concat();
        let (mut at, mut skips) = (0, 0);
        while let Ok(Parsed::Junk(junk)) = parse(&bytes[at..], LIMIT) {
            assert!(junk > 0);
            at += junk;
            skips += 1;
            assert!(skips < 10);
        }
        assert_eq!(at, skipped);
        assert!(matches!(
            parse(&bytes[at..], LIMIT),
            Ok(Parsed::Message(..))
        ));
    }
    // What may be the beginning of a marker is kept.
    assert_eq!(parse(b"junkFLT20", LIMIT), Ok(Parsed::Junk(4)));
    assert_eq!(parse(b"FLT20", LIMIT), Ok(Parsed::Incomplete(11)));
}

#[test]
fn frames_that_are_none_are_refused() {
    let probe = captured("failure-probe");
    let with = |at: usize, value: u8| {
        let mut bytes = probe.clone();
        bytes[at] = value;
        bytes
    };
    let too_large = |len| Err(FrameError::TooLarge { len, limit: 1000 });
    for (bytes, expected) in [
        (with(7, 0xff), too_large(0xff00_00b5)),
        (with(9, 0x04), too_large(0x4b5)),
        (with(10, 0xb4), Err(FrameError::End)),
        (with(198, b'4'), Err(FrameError::End)),
        (with(26, 15), Err(FrameError::Length)),
        (with(23, 0x80), Err(FrameError::Length)),
        (with(46, 76), Err(FrameError::Length)),
        (with(127, 63), Err(FrameError::Length)),
        (with(127, 65), Err(FrameError::Length)),
        (
            b"FLT2002\x00\x00\x00\x00TLF2003".to_vec(),
            Err(FrameError::Length),
        ),
        (
            b"FLT2002\x00\x00\x00\x03\x06\x02\x04TLF2003".to_vec(),
            Err(FrameError::Length),
        ),
    ] {
        assert_eq!(parse(&bytes, 1000), expected, "{bytes:02x?}");
    }
}

#[test]
fn packages_that_are_none_are_refused() {
    let good = captured("heartbeat");
    let with = |at: usize, values: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + values.len()].copy_from_slice(values);
        bytes
    };
    for (bytes, expected) in [
        (Vec::new(), PackageError::Short(0)),
        (b"TRIBES".to_vec(), PackageError::Short(6)),
        (b"TRIBES-C\x01\x00".to_vec(), PackageError::Marker),
        (good[..76].to_vec(), PackageError::Short(76)),
        (with(76, &[1]), PackageError::Marker),
        (with(10, &[0xff]), PackageError::Short(77)),
        (with(10, &[0x7f]), PackageError::Length),
        (with(34, &[5]), PackageError::Host(5)),
        (with(34, &[0xff]), PackageError::Host(255)),
        (with(34, &[16]), PackageError::Length),
        (with(22, &[0, 1, 0, 0]), PackageError::Port(65536)),
        (with(22, &[0xff; 4]), PackageError::Port(-1)),
        (with(26, &[0xff, 0xff, 0xff, 0xfe]), PackageError::Port(-2)),
        (with(39, &[0xff; 4]), PackageError::Length),
        (with(66, &[1]), PackageError::Length),
    ] {
        assert_eq!(Member::parse(&bytes), Err(expected), "{bytes:02x?}");
    }
}

#[test]
fn ids_have_the_form_of_random_uuids() {
    let id = MemberId::from_random([0xff; 16]).to_string();
    assert_eq!(id, "ffffffffffff4fffbfffffffffffffff");
    let id = MemberId::from_random([0; 16]).to_string();
    assert_eq!(id, "00000000000040008000000000000000");
}

#[test]
fn options_are_numbers_and_names() {
    for (text, bits, shown) in [
        ("8", 8, "async"),
        ("async", 8, "async"),
        ("asynchronous", 8, "async"),
        ("sync, use_ack", 6, "use_ack, sync"),
        ("USE_ACK,SYNCHRONIZED_ACK", 6, "use_ack, sync"),
        ("10", 10, "use_ack, async"),
        ("0", 0, "0"),
        ("byte_message", 1, "byte"),
        (" 4 ", 4, "sync"),
        ("secure, udp, multicast", 112, "secure, udp, multicast"),
    ] {
        let options: SendOptions = text.parse().expect(text);
        assert_eq!(
            (options.bits(), options.to_string().as_str()),
            (bits, shown),
            "{text}"
        );
    }
    for text in ["", "sink", "sync use_ack", "-1", "128", "6x", "99999999999"] {
        let error = text.parse::<SendOptions>().expect_err(text).to_string();
        assert!(error.contains("write a sum of"), "{error}");
    }
    let six: SendOptions = "6".parse().expect("6");
    assert!(six.wants_ack() && six.ack_after_applied() && !six.is_async());
    let four: SendOptions = "4".parse().expect("4");
    assert!(!four.wants_ack() && !four.ack_after_applied());
}

fn members() -> impl Strategy<Value = Member> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|a| IpAddr::from(Ipv4Addr::from(a))),
        any::<[u8; 16]>().prop_map(|a| IpAddr::from(Ipv6Addr::from(a))),
    ];
    let text = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Vec::into_boxed_slice);
    let numbers = (
        any::<u64>(),
        any::<u16>(),
        any::<Option<u16>>(),
        any::<Option<u16>>(),
    );
    let texts = (text(), text(), any::<[u8; 16]>(), text());
    (numbers, host, texts).prop_map(|(numbers, host, texts)| Member {
        alive: numbers.0,
        host,
        port: numbers.1,
        secure_port: numbers.2,
        udp_port: numbers.3,
        command: texts.0,
        domain: texts.1,
        id: MemberId(texts.2),
        payload: texts.3,
    })
}

proptest! {
    #[test]
    fn members_come_back(member in members(), behind in any::<[u8; 3]>()) {
        let package = member.package();
        prop_assert_eq!(package.len(), member.package_len());
        let bytes = [&package[..], &behind].concat();
        prop_assert_eq!(Member::parse(&bytes), Ok((member, package.len())));
    }

    #[test]
    fn any_bytes_are_a_package_or_refused(bytes in any::<Vec<u8>>(), at in 0usize..77, value in any::<u8>()) {
        let _ = Member::parse(&bytes);
        let mut bytes = captured("heartbeat");
        bytes[at] = value;
        if let Ok((member, used)) = Member::parse(&bytes) {
            prop_assert_eq!(member.package(), &bytes[..used]);
        }
    }

    #[test]
    fn frames_come_back(bits in any::<u32>(), timestamp in any::<u64>(), id in any::<[u8; 16]>(),
        sender in members(), message in any::<Vec<u8>>()) {
        let sender = sender.package();
        let options = SendOptions::from_bits(bits);
        let frame = Frame { options, timestamp, id, sender: &sender, message: &message };
        let bytes = written(&frame);
        prop_assert_eq!(parse(&bytes, LIMIT), Ok(Parsed::Message(frame, bytes.len())));
    }

    #[test]
    fn any_bytes_are_frames_or_refused(bytes in any::<Vec<u8>>(), at in 0usize..199, value in any::<u8>()) {
        let mut bytes = [&bytes[..], &captured("failure-probe"), &bytes].concat();
        let last = bytes.len() - 1;
        bytes[at.min(last)] = value;
        let mut rest = &bytes[..];
        loop {
            match parse(rest, 4096) {
                Ok(Parsed::Junk(0)) => prop_assert!(false, "no progress"),
                Ok(Parsed::Message(_, used) | Parsed::Answer(_, used) | Parsed::Junk(used)) => rest = &rest[used..],
                Ok(Parsed::Incomplete(needed)) => {
                    prop_assert!(needed > rest.len());
                    break;
                }
                Err(_) => break,
            }
        }
    }

    #[test]
    fn probes_are_known(at in 0usize..64) {
        let mut message = PROBE;
        message[at] ^= 1;
        let frame = Frame { options: SendOptions::BYTE_MESSAGE, timestamp: 0, id: [0; 16], sender: &[], message: &message };
        prop_assert!(!frame.is_probe());
    }
}
