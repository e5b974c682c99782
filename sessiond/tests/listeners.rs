//! Where clients may connect: several addresses, free ports that are told in a file, Unix sockets.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use support::process::{Program, output};
use support::{PATIENCE, connect, exchange, until};

fn ask(path: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    stream.write_all(b"version\r\nquit\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn several_addresses_are_served_and_their_ports_are_told() {
    let program = Program::start(&["-p", "-1", "-l", "127.0.0.1,127.0.0.2:0", "-l", "[::1]"]);
    let ports = program.ports();
    let families: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
    // A machine without IPv6 has no ::1.
    assert_eq!(families, ["TCP INET", "TCP INET", "TCP INET6"]);
    for (ip, (_, port)) in ["127.0.0.1", "127.0.0.2", "::1"].into_iter().zip(&ports) {
        let address = SocketAddr::new(ip.parse().expect("an address"), *port);
        exchange(&mut connect(address), b"version\r\n", "VERSION 1.6.18\r\n");
    }
    let elsewhere = SocketAddr::from(([127, 0, 0, 3], ports[0].1));
    assert!(TcpStream::connect(elsewhere).is_err());
}

#[test]
fn a_unix_socket_has_its_mask_and_goes_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.sock");
    let text = path.to_str().expect("text");
    for (mask, mode) in [(None, 0o700), (Some("0777"), 0o777)] {
        let mut arguments = vec!["-s", text];
        arguments.extend(mask.iter().flat_map(|mask| ["-a", mask]));
        let mut program = Program::spawn(&arguments);
        let answer = until("it answers", || ask(&path));
        assert_eq!(answer, "VERSION 1.6.18\r\n");
        let metadata = fs::metadata(&path).expect("the socket");
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        let second = output(&["-s", text]);
        let told = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(3), "{told}");
        assert!(told.contains("another process listens there"), "{told}");
        assert_eq!(program.signal("TERM").code(), Some(0));
        assert!(!path.exists());
    }
}

#[test]
fn only_a_socket_file_that_nobody_listens_on_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.sock");
    let text = path.to_str().expect("text");
    fs::write(&path, "precious").expect("writable");
    let refused = output(&["-s", text]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("a file that is no socket is there"), "{told}");
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
    fs::remove_file(&path).expect("ours");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(fs::metadata(&path).expect("left").file_type().is_socket());
    let _program = Program::spawn(&["-s", text]);
    until("it answers", || ask(&path));
}

#[test]
fn the_background_one_listens_before_the_starter_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (socket, pidfile) = (path("store.sock"), path("pid"));
    let arguments = ["-d", "-P", &pidfile, "-s", &socket];
    assert_eq!(output(&arguments).status.code(), Some(0));
    let pid = fs::read_to_string(&pidfile).expect("written");
    let answer = ask(Path::new(&socket));
    let killed = std::process::Command::new("kill").arg(pid.trim()).status();
    assert!(killed.expect("kill is there").success());
    assert_eq!(answer.as_deref(), Some("VERSION 1.6.18\r\n"));
    until("it is gone", || {
        (!Path::new(&pidfile).exists()).then_some(())
    });
    // A failed start is told by the starter.
    fs::write(&socket, "in the way").expect("writable");
    assert_eq!(output(&arguments).status.code(), Some(3));
}

#[test]
fn root_takes_on_the_rights_of_a_user() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let program = Program::start(&["-p", "-1", "-u", "65534"]);
    // It says where it listens before it takes them on.
    until("every thread has the rights of nobody", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).ok()?;
        let is_nobody = |status: String| {
            let has = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.is_some_and(|ids| ids.split_whitespace().all(|id| id == "65534"))
            };
            has("Uid:") && has("Gid:")
        };
        let statuses = tasks.map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
        let statuses: Option<Vec<String>> = statuses.collect();
        statuses?.into_iter().all(is_nobody).then_some(())
    });
    let nobody = output(&["-p", "-1", "-u", "no-such-user"]);
    assert_eq!(nobody.status.code(), Some(3));
}
