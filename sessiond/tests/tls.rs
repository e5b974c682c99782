//! TLS as clients and operators meet it: certificates of the tests' own authority, rustls as the client.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};
use support::process::{Program, output};
use support::{connect, exchange, until};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a folder with the files that it has signed.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("writable");
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, and says what the certificate is.
    fn sign(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("writable");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("writable");
        certificate.der().clone()
    }

    /// The options of a node with the certificate `server`.
    fn options(&self, more: &str) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "ssl_chain_cert={},ssl_key={},ssl_ca_cert={}{more}",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        )
    }

    fn start(&self, more: &str) -> Program {
        let options = self.options(more);
        Program::start(&["-p", "-1", "-Z", "-o", &options])
    }

    /// A client's settings; with a certificate of its own when named.
    fn client(&self, own: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let Some(name) = own else {
            return builder.with_no_client_auth();
        };
        let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
        let chain = vec![chain.expect("a certificate")];
        builder
            .with_client_auth_cert(chain, key.expect("a key"))
            .expect("they fit")
    }
}

fn tls(address: SocketAddr, config: ClientConfig) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("good settings");
    StreamOwned::new(session, connect(address))
}

fn ask(stream: &mut Tls) -> io::Result<String> {
    stream.write_all(b"version\r\n")?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn values_of_every_size_go_both_ways() {
    let authority = Authority::new();
    authority.sign("server");
    let node = authority.start("");
    let mut stream = tls(node.address(), authority.client(None));
    for size in [0, 1, 100, 16 * 1024 - 30, 16 * 1024, 70_000, 1_000_000] {
        let value: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        let mut request = format!("set key 0 0 {size}\r\n").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\nget key\r\nmg key v\r\nversion\r\n");
        stream.write_all(&request).expect("it reads");
        let mut expected = format!("STORED\r\nVALUE key 0 {size}\r\n").into_bytes();
        expected.extend_from_slice(&value);
        expected.extend_from_slice(format!("\r\nEND\r\nVA {size}\r\n").as_bytes());
        expected.extend_from_slice(&value);
        expected.extend_from_slice(b"\r\nVERSION 1.6.18\r\n");
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).expect("it answers");
        assert!(answer == expected, "{size}");
    }
    stream.write_all(b"quit\r\n").expect("it reads");
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert_eq!(end.expect("an end that is announced"), 0);
}

#[test]
fn a_client_that_does_not_read_gets_everything_when_it_does() {
    let authority = Authority::new();
    authority.sign("server");
    let node = authority.start("");
    let mut stream = tls(node.address(), authority.client(None));
    let value = vec![b'x'; 500_000];
    stream
        .write_all(b"set big 0 0 500000 noreply\r\n")
        .expect("it reads");
    stream.write_all(&value).expect("it reads");
    stream.write_all(b"\r\n").expect("it reads");
    // Far more than the socket's buffers hold.
    let times = 40;
    stream
        .write_all("get big\r\n".repeat(times).as_bytes())
        .expect("it reads");
    exchange_elsewhere(&node, &authority);
    let one = "VALUE big 0 500000\r\n".len() + value.len() + "\r\nEND\r\n".len();
    let mut answer = vec![0; one * times];
    stream.read_exact(&mut answer).expect("it answers");
    assert!(
        answer
            .chunks(one)
            .all(|chunk| chunk.ends_with(b"x\r\nEND\r\n"))
    );
}

fn exchange_elsewhere(node: &Program, authority: &Authority) {
    let mut other = tls(node.address(), authority.client(None));
    assert_eq!(ask(&mut other).expect("served"), "VERSION 1.6.18\r\n");
}

#[test]
fn a_listener_may_stay_without_tls() {
    let authority = Authority::new();
    authority.sign("server");
    let options = authority.options("");
    let node = Program::start(&["-Z", "-o", &options, "-l", "notls:127.0.0.1:0,127.0.0.1:0"]);
    let ports = node.ports();
    let at = |index: usize| SocketAddr::from(([127, 0, 0, 1], ports[index].1));
    exchange(&mut connect(at(0)), b"version\r\n", "VERSION 1.6.18\r\n");
    let mut stream = tls(at(1), authority.client(None));
    assert_eq!(ask(&mut stream).expect("served"), "VERSION 1.6.18\r\n");
    // What is no TLS is not answered in the clear, and harms nobody.
    let mut plain = connect(at(1));
    plain
        .write_all(b"version\r\nversion\r\n")
        .expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"VERSION"));
    assert_eq!(ask(&mut stream).expect("served"), "VERSION 1.6.18\r\n");
}

#[test]
fn a_signal_has_the_certificates_read_again() {
    let authority = Authority::new();
    let first = authority.sign("server");
    let node = authority.start("");
    let shown = || {
        let mut stream = tls(node.address(), authority.client(None));
        ask(&mut stream).expect("served");
        let chain = stream.conn.peer_certificates().expect("shown");
        chain[0].clone()
    };
    let mut old = tls(node.address(), authority.client(None));
    ask(&mut old).expect("served");
    assert_eq!(shown(), first);
    let second = authority.sign("server");
    assert_eq!(shown(), first, "not before it is asked to");
    node.send("HUP");
    until("the new one is shown", || (shown() == second).then_some(()));
    ask(&mut old).expect("still served");
    fs::write(authority.path("server.pem"), "nothing").expect("writable");
    node.send("HUP");
    until("it says so", || {
        node.log().contains("cannot read again").then_some(())
    });
    assert_eq!(shown(), second);
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("server");
    authority.sign("client");
    stranger.sign("client");
    let with_stranger_s = || {
        let mut config = authority.client(None);
        config.client_auth_cert_resolver =
            stranger.client(Some("client")).client_auth_cert_resolver;
        config
    };
    for (mode, without) in [(1, true), (2, false), (3, false)] {
        let node = authority.start(&format!(",ssl_verify_mode={mode}"));
        let served = |config| ask(&mut tls(node.address(), config)).is_ok();
        assert!(served(authority.client(Some("client"))), "mode {mode}");
        assert_eq!(served(authority.client(None)), without, "mode {mode}");
        assert!(!served(with_stranger_s()), "mode {mode}");
    }
}

#[test]
fn the_oldest_version_is_a_setting() {
    let authority = Authority::new();
    authority.sign("server");
    for (setting, old_is_served) in [(0, true), (2, true), (3, false)] {
        let node = authority.start(&format!(",ssl_min_version={setting}"));
        let served = |version| {
            let mut roots = RootCertStore::empty();
            roots
                .add(authority.issuer.der().clone())
                .expect("an authority");
            let config = ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(roots)
                .with_no_client_auth();
            ask(&mut tls(node.address(), config)).is_ok()
        };
        assert_eq!(served(&version::TLS12), old_is_served, "{setting}");
        assert!(served(&version::TLS13), "{setting}");
    }
}

#[test]
fn files_that_cannot_be_used_are_told_at_the_start() {
    let authority = Authority::new();
    authority.sign("server");
    authority.sign("other");
    let path = |name: &str| authority.path(name).display().to_string();
    let (chain, key) = (path("server.pem"), path("other.key"));
    for (options, told) in [
        ("ssl_chain_cert=/nowhere".to_owned(), "/nowhere"),
        (format!("ssl_chain_cert={chain}"), "ssl_key"),
        (
            format!("ssl_chain_cert={chain},ssl_key={key}"),
            "with ssl_key",
        ),
    ] {
        let output = output(&["-p", "-1", "-Z", "-o", &options]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(told), "{message}");
    }
}

/// Another implementation than ours on the other side.
#[test]
fn openssl_s_client_is_served() {
    let authority = Authority::new();
    authority.sign("server");
    let node = authority.start("");
    let Some(answer) = s_client(node.address(), &authority.path("ca.pem")) else {
        return eprintln!("skipped: openssl is not installed (apt-get install openssl)");
    };
    assert!(answer.contains("VERSION 1.6.18"), "{answer}");
    assert!(answer.contains("Verify return code: 0 (ok)"), "{answer}");
}

fn s_client(address: SocketAddr, authority: &Path) -> Option<String> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &address.to_string()])
        .arg("-CAfile")
        .arg(authority)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"version\r\nquit\r\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
