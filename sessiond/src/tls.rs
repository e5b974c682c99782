//! TLS by rustls: what the files say (memcached's `-o ssl_*`), read at the start and again on request.
//!
//! A client that has connected keeps what it has agreed on; new ones get what was read last.

mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use program::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::{Config, is_empty};

pub(crate) use session::Session;

/// `ssl_min_version` of TLS 1.3.
const ONLY_1_3: u8 = 3;

/// Both versions that rustls has; memcached's default is 1.2, too.
const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// The files, and what they said last.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Files,
    current: ArcSwap<ServerConfig>,
}

#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    clients: Clients,
    only_1_3: bool,
}

/// What clients have to show (`ssl_verify_mode`).
#[derive(Debug)]
enum Clients {
    /// Nothing.
    Anybody,
    /// A certificate from one of these, if any.
    Known(PathBuf),
    /// A certificate from one of these.
    OnlyKnown(PathBuf),
}

impl Certificates {
    /// Reads the files that the settings name; `None` when TLS is off.
    pub(crate) fn of(config: &Config) -> Result<Option<Arc<Self>>, Failure> {
        if !config.enable_ssl {
            return Ok(None);
        }
        let chain = config.ssl_chain_cert.clone();
        let files = Files {
            key: if is_empty(&config.ssl_key) {
                chain.clone()
            } else {
                config.ssl_key.clone()
            },
            chain,
            clients: match config.ssl_verify_mode {
                0 => Clients::Anybody,
                1 => Clients::Known(config.ssl_ca_cert.clone()),
                _ => Clients::OnlyKnown(config.ssl_ca_cert.clone()),
            },
            only_1_3: config.ssl_min_version >= ONLY_1_3,
        };
        let current = ArcSwap::from_pointee(files.read()?);
        Ok(Some(Arc::new(Self { files, current })))
    }

    /// Reads the files again (SIGHUP, `refresh_certs`). On an error what held so far goes on holding.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        self.current.store(Arc::new(self.files.read()?));
        Ok(())
    }

    /// What a client that comes now is offered.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

impl Files {
    fn read(&self) -> Result<ServerConfig, Failure> {
        let chain = certificates(&self.chain, "ssl_chain_cert")?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| unusable("ssl_key", &self.key, &e))?;
        let versions = if self.only_1_3 {
            &[&version::TLS13]
        } else {
            ALL_VERSIONS
        };
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let builder = match &self.clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Known(file) | Clients::OnlyKnown(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(file, "ssl_ca_cert")? {
                    roots
                        .add(root)
                        .map_err(|e| unusable("ssl_ca_cert", file, &e))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
                let verifier = match &self.clients {
                    Clients::Known(_) => verifier.allow_unauthenticated(),
                    Clients::Anybody | Clients::OnlyKnown(_) => verifier,
                };
                let verifier = verifier.build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|e| unusable("ssl_ca_cert", file, &e))?,
                )
            }
        };
        builder
            .with_single_cert(chain, key)
            .map_err(|e| unusable("ssl_chain_cert with ssl_key", &self.chain, &e))
    }
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |e| unusable(setting, path, &e);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(wrong)?
        .collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() {
        return Err(unusable(setting, path, &"there is no certificate in it"));
    }
    Ok(found)
}

fn unusable(setting: &str, path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::environment(
        format!("cannot use {} for {setting}", path.display()),
        format_args!("{cause}; it has to be a readable PEM file"),
    )
}
