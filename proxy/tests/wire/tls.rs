//! TLS, with HTTP/1.1 and HTTP/2 chosen by ALPN.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::stage::{Peer, Proxy, ok};

struct Site {
    proxy: Proxy,
    certificate: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

fn site(peer: &Peer) -> Site {
    let made = rcgen::generate_simple_self_signed(vec!["shop.test".into()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let proxy = Proxy::start(&format!(
        "listen = [\"127.0.0.1:0 ssl\"]\nupstream = [\"{}\"]\nssl_certificate = {chain:?}\nssl_certificate_key = {key:?}\n",
        peer.address
    ));
    Site {
        proxy,
        certificate: made.cert.der().clone(),
        _folder: folder,
    }
}

async fn connect(
    site: &Site,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(site.certificate.clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = tokio::net::TcpStream::connect(site.proxy.addresses[0])
        .await
        .expect("it listens");
    let name = ServerName::try_from("shop.test").expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

fn request(path: &str, body: &'static str) -> http::Request<Full<bytes::Bytes>> {
    http::Request::post(format!("https://shop.test{path}"))
        .header("host", "shop.test")
        .body(Full::from(body))
        .expect("a request")
}

fn echo() -> Peer {
    Peer::answering(|request| {
        ok(&format!(
            "{} {}",
            request.line(),
            String::from_utf8_lossy(&request.body)
        ))
    })
}

#[tokio::test]
async fn http_1_1_over_tls() {
    let peer = echo();
    let site = site(&peer);
    let stream = connect(&site, b"http/1.1").await;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1.1");
    tokio::spawn(connection);
    for number in 0..3 {
        let mut asked = request("/one", "body");
        *asked.uri_mut() = "/one".parse().expect("a target");
        let response = send.send_request(asked).await.expect("a response");
        assert_eq!(response.status(), 200, "{number}");
        assert!(response.headers().contains_key("x-proxy"));
        let text = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert_eq!(text, "POST /one HTTP/1.1 body");
    }
    assert_eq!(
        peer.seen()[0].field("x-forwarded-proto").as_deref(),
        Some("https")
    );
}

#[tokio::test]
async fn http_2_over_tls_with_many_streams_at_once() {
    let peer = echo();
    let site = site(&peer);
    let stream = connect(&site, b"h2").await;
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let streams: Vec<_> = (0..20)
        .map(|number| {
            let mut send = send.clone();
            tokio::spawn(async move {
                let response = send
                    .send_request(request(&format!("/{number}"), "data"))
                    .await
                    .expect("a response");
                assert_eq!(response.status(), 200);
                assert!(response.headers().contains_key("x-proxy"));
                let text = response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes();
                assert_eq!(text, format!("POST /{number} HTTP/1.1 data"));
            })
        })
        .collect();
    for stream in streams {
        stream.await.expect("answered");
    }
    assert_eq!(peer.seen().len(), 20);
}

#[tokio::test]
async fn an_http_2_connection_is_counted_once() {
    let peer = echo();
    let site = site(&peer);
    for round in 1..=3 {
        let stream = connect(&site, b"h2").await;
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let response = send.send_request(request("/", "data")).await;
        assert_eq!(response.expect("a response").status(), 200);
        site.proxy
            .until_status("it is open", |s| s["client"]["active"] == 1);
        drop(send);
        connection.abort();
        assert!(connection.await.is_err(), "it was ended");
        site.proxy.until_status("it is closed", |s| {
            s["client"]["active"] == 0 && s["client"]["handled"] == round
        });
    }
}

#[tokio::test]
async fn a_large_body_comes_through_http_2_without_waiting_for_a_timeout() {
    let peer = Peer::answering(|request| ok(&request.body.len().to_string()));
    let site = site(&peer);
    let stream = connect(&site, b"h2").await;
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    for size in [17_000, 70_000, 900_000] {
        let asked = http::Request::post("https://shop.test/")
            .header("host", "shop.test")
            .body(Full::new(bytes::Bytes::from(vec![b'x'; size])))
            .expect("a request");
        let answered = tokio::time::timeout(super::stage::PATIENCE, send.send_request(asked)).await;
        let response = answered.expect("in time").expect("a response");
        let text = response.into_body().collect().await.expect("a body");
        assert_eq!(text.to_bytes(), size.to_string());
    }
}

#[tokio::test]
async fn a_cookie_that_http_2_parted_is_one_field_for_the_peer() {
    let peer = echo();
    let site = site(&peer);
    let stream = connect(&site, b"h2").await;
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let mut asked = request("/", "");
    for part in ["a=1", "JSESSIONID=2; b=3", "route=4"] {
        let part = part.parse().expect("a value");
        asked.headers_mut().append("cookie", part);
    }
    let response = send.send_request(asked).await.expect("a response");
    assert_eq!(response.status(), 200);
    let head = &peer.seen()[0].head;
    assert!(
        head.contains("cookie: a=1; JSESSIONID=2; b=3; route=4\r\n"),
        "{head}"
    );
}
