//! TLS by rustls: certificates from PEM files, chosen by the name that the client asks for (SNI), `h2` and `http/1.1` by
//! ALPN.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use program::Failure;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::connection::Phase;
use crate::connection::stream::Stream;
use crate::connection::wire::Wire;
use crate::exchange::Deadline;
use crate::site::Certificate;
use crate::worker::Worker;

/// What turns a plain connection into an encrypted one.
pub(crate) type Acceptor = TlsAcceptor;

/// Reads the certificates of a listener; `None` when it has none.
pub(crate) fn acceptor(certificates: &[Certificate]) -> Result<Option<Acceptor>, Failure> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let mut by_name = HashMap::new();
    let mut default = None;
    for certificate in certificates {
        let key = Arc::new(load(certificate)?);
        default.get_or_insert_with(|| Arc::clone(&key));
        for name in &certificate.names {
            by_name.insert(name.to_ascii_lowercase(), Arc::clone(&key));
        }
    }
    let Some(default) = default else {
        return Ok(None);
    };
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::environment("cannot set TLS up", e))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { by_name, default }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn load(certificate: &Certificate) -> Result<CertifiedKey, Failure> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate.chain)
        .and_then(Iterator::collect)
        .map_err(|e| unreadable("ssl_certificate", &certificate.chain, e))?;
    if chain.is_empty() {
        return Err(unreadable(
            "ssl_certificate",
            &certificate.chain,
            "it holds no certificate",
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&certificate.key)
        .map_err(|e| unreadable("ssl_certificate_key", &certificate.key, e))?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|e| unreadable("ssl_certificate_key", &certificate.key, e))?;
    Ok(certified)
}

fn unreadable(setting: &str, path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::environment(format!("cannot use {} ({setting})", path.display()), why)
}

/// Certificates by server name; the first of the listener for all other names.
#[derive(Debug)]
struct ByName {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default();
        let exact = self.by_name.get(name);
        let wildcard = || {
            let (_, domain) = name.split_once('.')?;
            self.by_name.get(&format!("*.{domain}"))
        };
        Some(Arc::clone(exact.or_else(wildcard).unwrap_or(&self.default)))
    }
}

/// Lets the connection under `wire` become an encrypted one. False when it is gone: the client does not speak TLS, was
/// too slow, or speaks HTTP/2 and was given to [`crate::http2`].
pub(crate) async fn handshake(worker: &Rc<Worker>, wire: &Wire, deadline: &Deadline) -> bool {
    let Some(conn) = wire.detach() else {
        return false;
    };
    let acceptor = conn.listening.tls.borrow().clone();
    let (Some(acceptor), Stream::Plain(socket)) = (acceptor, conn.stream) else {
        return false;
    };
    deadline.set(conn.deadline);
    // What was read behind a PROXY header is already TLS.
    let early = crate::connection::stream::Replayed::new(conn.early, socket);
    let mut accepting = pin!(acceptor.accept(early));
    let accepted = poll_fn(|cx| match accepting.as_mut().poll(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending if deadline.has_passed() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    deadline.clear();
    let stream = match accepted {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            tracing::debug!(peer = %conn.peer, %error, "TLS handshake failed");
            return false;
        }
        None => {
            tracing::debug!(peer = %conn.peer, "TLS handshake timed out");
            return false;
        }
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let conn = crate::connection::Conn {
        stream: Stream::Tls(Box::new(stream)),
        listening: conn.listening,
        peer: conn.peer,
        announced: conn.announced,
        phase: Phase::Request,
        requests: 0,
        deadline: conn.deadline,
        head_since: 0,
        early: Vec::new(),
    };
    if http2 {
        crate::http2::start(worker, conn);
        return true;
    }
    wire.attach(conn);
    true
}
