//! The contents of certificate and key files, as the master passes them to a zygote.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::TlsProblem;
use crate::settings::TlsTerms;

/// The contents of the files.
#[derive(Debug, Serialize, Deserialize)]
pub struct Material {
    /// The server's certificate chain, in DER.
    pub(super) chain: Vec<Vec<u8>>,
    /// The contents of the key file.
    pub(super) key: Vec<u8>,
    /// The trusted authorities of client certificates, in DER.
    pub(super) authorities: Vec<Vec<u8>>,
}

impl Material {
    /// Returns a warning if the server's certificate is not valid at this time, so that clients will reject it.
    pub fn remark(&self, now: SystemTime) -> Option<String> {
        let certificate = Certificate::from_der(self.chain.first()?).ok()?;
        let validity = certificate.tbs_certificate.validity;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if validity.not_after.to_unix_duration() < now {
            return Some(format!("the certificate has expired, it was valid until {}", validity.not_after));
        }
        let begins = validity.not_before.to_unix_duration() > now;
        begins.then(|| format!("the certificate is not valid before {}", validity.not_before))
    }
}

/// Parses the private key of a file.
pub(super) fn private_key(terms: &TlsTerms, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let (setting, path) = key_file(terms);
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let expected = "expected a private key in PEM without a password";
        let text = match error {
            PemError::NoItemsFound if is_encrypted(pem) => {
                "found one with a password\nhint: openssl pkey -in FILE -out NEW removes it".to_owned()
            }
            PemError::NoItemsFound if setting == "certfile" => "found none, and keyfile names no other file".to_owned(),
            PemError::NoItemsFound => "found none\nhint: it begins with -----BEGIN PRIVATE KEY-----".to_owned(),
            error => format!("found {}", broken(&error)),
        };
        TlsProblem::at(setting, path, format_args!("{expected}, {text}"))
    })
}

/// Returns the setting that names the key file, and the path.
pub(super) fn key_file(terms: &TlsTerms) -> (&'static str, &Path) {
    let certificate = || ("certfile", terms.certificate.as_deref().unwrap_or(Path::new("")));
    terms.key.as_deref().map_or_else(certificate, |path| ("keyfile", path))
}

fn is_encrypted(pem: &[u8]) -> bool {
    // PKCS #8, and the older form with a header.
    [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

/// Describes an error in PEM without the bytes, which may belong to a key.
pub(super) fn broken(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section without an END line",
        PemError::IllegalSectionStart { .. } => "an invalid BEGIN line",
        PemError::Base64Decode(_) => "invalid base64",
        _ => "something else",
    }
}
