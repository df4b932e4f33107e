//! The rustls configuration of the server, shared by all connections of a worker.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, cipher_suite, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedCipherSuite};

use super::material::{Material, key_file, private_key};
use super::{Session, TlsProblem};
use crate::settings::{ClientCertificates, Suite, TlsTerms, TlsVersion};

/// The server's certificate, key and TLS rules.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// Creates the configuration. This is done before workers are forked, so that each can resume the sessions of the
    /// others.
    pub fn new(material: &Material, terms: &TlsTerms) -> Result<Identity, TlsProblem> {
        let provider = Arc::new(provider(terms));
        let versions: &[_] = match terms.lowest {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let internal = |error: Error| TlsProblem::of("certfile", error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).map_err(internal)?;
        let builder = match terms.clients {
            ClientCertificates::Ignored => builder.with_no_client_auth(),
            asked => {
                let clients = WebPkiClientVerifier::builder_with_provider(roots(material, terms)?, provider);
                let clients =
                    if asked == ClientCertificates::Optional { clients.allow_unauthenticated() } else { clients };
                let clients = clients.build().map_err(|error| TlsProblem::of("ca_certs", error.to_string()))?;
                builder.with_client_cert_verifier(clients)
            }
        };
        let chain = material.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = private_key(terms, &material.key)?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(terms, &error))?;
        // HTTP/2 is not supported; a client that offers nothing else is refused in the handshake (RFC 7301).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(internal)?;
        // The ticketer accepts no ticket longer than its own longest one, and would reject longer ones from other
        // workers.
        let _ = config.ticketer.encrypt(&[0; LONGEST_TICKET]);
        Ok(Identity(Arc::new(config)))
    }

    /// Creates the session of an accepted connection.
    pub fn session(&self) -> Result<Session, Error> {
        Session::new(Arc::clone(&self.0))
    }
}

/// Returns the cryptography provider, with the TLS 1.2 suites of the settings in their order.
fn provider(terms: &TlsTerms) -> CryptoProvider {
    let mut provider = default_provider();
    if let Some(ciphers) = &terms.ciphers {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(ciphers.suites().iter().map(|suite| of_rustls(*suite)));
    }
    provider
}

/// Returns the suite of rustls.
fn of_rustls(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Suite::RsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn roots(material: &Material, terms: &TlsTerms) -> Result<Arc<RootCertStore>, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for (at, der) in material.authorities.iter().enumerate() {
        roots.add(CertificateDer::from(der.clone())).map_err(|error| {
            let number = at + 1;
            let text = format!("expected certificates of authorities, found an invalid one, number {number}: {error}");
            match &terms.authorities {
                Some(path) => TlsProblem::at("ca_certs", path, text),
                None => TlsProblem::of("ca_certs", text),
            }
        })?;
    }
    Ok(Arc::new(roots))
}

/// Translates the error of an unusable certificate and key.
fn unfit(terms: &TlsTerms, error: &Error) -> TlsProblem {
    let (setting, path) = key_file(terms);
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let text = "expected the key of the certificate in certfile, found the key of another one\n\
                        hint: certfile contains the server's own certificate first, then those of the authorities";
            TlsProblem::at(setting, path, text)
        }
        Error::General(_) => {
            let text = "expected a key of RSA (2048 to 4096 bits), ECDSA (P-256 or P-384) or Ed25519, found another one\n\
                 hint: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE makes one";
            TlsProblem::at(setting, path, text)
        }
        error => TlsProblem::at(
            "certfile",
            terms.certificate.as_deref().unwrap_or(path),
            format_args!("expected the certificate of a server, found one that cannot be used: {error}"),
        ),
    }
}

/// The longest ticket. It contains mainly the client's certificate chain.
const LONGEST_TICKET: usize = 8 * 1024;
