//! The program as an operator meets it: exit codes, messages, signals.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use support::process::{Program, output};
use support::{connect, exchange, until};

/// An address that nobody has at this moment.
fn free() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn it_tells_its_health_and_ends_in_order_when_asked_to() {
    for signal in ["TERM", "INT", "QUIT", "USR1"] {
        let (listen, admin) = (free(), free());
        let addresses = ["--listen", &listen, "--admin", &admin];
        let asked = [&addresses[..], &["healthcheck"]].concat();
        let without_admin = ["--listen", &listen, "healthcheck"];
        assert_eq!(output(&asked).status.code(), Some(1));
        let mut node = Program::spawn(&addresses);
        until("it is healthy", || {
            output(&asked).status.success().then_some(())
        });
        assert!(output(&without_admin).status.success());
        for harmless in ["HUP", "USR2", "PIPE"] {
            node.send(harmless);
        }
        assert_eq!(node.signal(signal).code(), Some(0), "{signal}");
        assert_eq!(output(&asked).status.code(), Some(1));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_own_exit_code() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for (arguments, code, told) in [
        (
            ["--listen", &address],
            3,
            "choose another address with --listen",
        ),
        (["--lisen", "x"], 2, "--listen"),
        (["-m", "1"], 2, "write at least 8m"),
        (["--admin", "nowhere"], 2, "write IP:PORT"),
    ] {
        let output = output(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(told), "{message}");
    }
}

#[test]
fn version_and_licence_are_told_as_memcached_s_operators_ask() {
    let told = |flag| String::from_utf8(output(&[flag]).stdout).expect("text");
    let version = told("-V");
    assert!(version.starts_with("sessiond ") && version.ends_with("(memcached 1.6.18 protocol)\n"));
    assert!(told("-i").contains("MIT"));
    let help = told("-h");
    for flag in ["-p, --port", "-vv", "-o, --extended", "--conn-limit"] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
}

#[test]
fn options_without_effect_are_logged_with_the_reason() {
    let program = Program::start(&[
        "-p", "-1", "-U", "0", "-vvn48", "-f", "1.25", "-o", "modern",
    ]);
    let log = program.log();
    for told in ["--slab-min-size", "There are no slab classes", "-o modern"] {
        assert!(log.contains(told), "{told} is not in\n{log}");
    }
}

#[test]
fn a_signal_has_the_password_file_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users");
    let path = file.to_str().expect("text");
    std::fs::write(&file, "ann:one\n").expect("writable");
    let node = Program::start(&["-p", "-1", "-Y", path]);
    let login = |password: &str| {
        let request = format!("set x 0 0 {}\r\nann {password}\r\n", password.len() + 4);
        let mut stream = connect(node.address());
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut first = [0];
        stream.read_exact(&mut first).expect("it answers");
        first == *b"S"
    };
    assert!(login("one") && !login("two"));
    std::fs::write(&file, "ann:two\n").expect("writable");
    node.send("HUP");
    until("the new password is good", || login("two").then_some(()));
    assert!(!login("one"));
    std::fs::write(&file, "no colon\n").expect("writable");
    node.send("HUP");
    until("it says so", || {
        node.log().contains("cannot read again").then_some(())
    });
    assert!(login("two"));
    let listen = node.address().to_string();
    assert!(
        output(&["-Y", path, "-l", &listen, "healthcheck"])
            .status
            .success()
    );
}

#[test]
fn two_letters_have_requests_logged_without_values() {
    for (flags, logged) in [("-v", false), ("-vv", true)] {
        let node = Program::start(&["-p", "-1", flags]);
        let request = b"set greeting 0 0 6\r\nsecret\r\nget greeting\r\n";
        let answer = "STORED\r\nVALUE greeting 0 6\r\nsecret\r\nEND\r\n";
        exchange(&mut connect(node.address()), request, answer);
        let log = node.log();
        assert_eq!(log.contains("get greeting"), logged, "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}
