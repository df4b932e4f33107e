//! Certificates and keys from files: read whole, in PEM, checked as far as a file can be without a client.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::Problem;
use super::identity::Identity;
use crate::os::{self, place};
use crate::settings::{ClientCertificates, TlsTerms};

/// The contents of the files that settings name.
#[derive(Debug, Serialize, Deserialize)]
pub struct Material {
    /// The server's certificate, and those behind it, in DER.
    pub(super) chain: Vec<Vec<u8>>,
    /// The whole file with the key.
    pub(super) key: Vec<u8>,
    /// Whose certificates of clients are believed, in DER.
    pub(super) authorities: Vec<Vec<u8>>,
}

impl Material {
    /// Reads the files and looks whether a server can be made of them.
    pub fn read(terms: &TlsTerms) -> Result<Material, Problem> {
        let Some(certificate) = &terms.certificate else {
            return Err(Problem::of("certfile", "expected a file with the certificate of keyfile, found none"));
        };
        let pem = contents("certfile", certificate)?;
        let chain = certificates("certfile", certificate, &pem)?;
        let key = match &terms.key {
            Some(path) => contents("keyfile", path)?,
            None => pem,
        };
        private_key(terms, &key)?;
        let authorities = match &terms.authorities {
            Some(path) => certificates("ca_certs", path, &contents("ca_certs", path)?)?,
            None if terms.clients == ClientCertificates::Ignored => Vec::new(),
            None => {
                let text = "expected a file with the authorities of the clients' certificates, found none\n\
                            hint: cert_reqs asks clients for certificates, and this says whose are believed";
                return Err(Problem::of("ca_certs", text));
            }
        };
        let material = Material { chain, key, authorities };
        Identity::new(&material, terms)?;
        Ok(material)
    }

    /// What a person should know about the server's certificate, though it can be served: that nobody will take it.
    pub fn remark(&self, now: SystemTime) -> Option<String> {
        let certificate = Certificate::from_der(self.chain.first()?).ok()?;
        let validity = certificate.tbs_certificate.validity;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if validity.not_after.to_unix_duration() < now {
            return Some(format!("the certificate has expired, it was valid until {}", validity.not_after));
        }
        let begins = validity.not_before.to_unix_duration() > now;
        begins.then(|| format!("the certificate is not valid yet, it will be from {}", validity.not_before))
    }
}

fn contents(setting: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    place::read(path).map_err(|error| {
        Problem::at(setting, path, format_args!("expected a file that can be read, found {}", os::words(&error)))
    })
}

fn certificates(setting: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    let expected = "expected certificates in PEM";
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|error| Problem::at(setting, path, format_args!("{expected}, found {}", broken(&error))))?;
        found.push(certificate.to_vec());
    }
    if found.is_empty() {
        let hint = if Certificate::from_der(pem).is_ok() {
            "found one in DER\nhint: openssl x509 -inform der -in FILE -out NEW makes PEM of it"
        } else {
            "found none\nhint: it begins with -----BEGIN CERTIFICATE-----"
        };
        return Err(Problem::at(setting, path, format_args!("{expected}, {hint}")));
    }
    Ok(found)
}

/// The key in a file's contents.
pub(super) fn private_key(terms: &TlsTerms, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    let (setting, path) = key_file(terms);
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let expected = "expected a private key in PEM without a password";
        let text = match error {
            PemError::NoItemsFound if is_encrypted(pem) => {
                "found one with a password\nhint: openssl pkey -in FILE -out NEW takes it off".to_owned()
            }
            PemError::NoItemsFound if setting == "certfile" => "found none, and keyfile names no other file".to_owned(),
            PemError::NoItemsFound => "found none\nhint: it begins with -----BEGIN PRIVATE KEY-----".to_owned(),
            error => format!("found {}", broken(&error)),
        };
        Problem::at(setting, path, format_args!("{expected}, {text}"))
    })
}

/// The file with the key, and the setting that names it.
pub(super) fn key_file(terms: &TlsTerms) -> (&'static str, &Path) {
    let certificate = || ("certfile", terms.certificate.as_deref().unwrap_or(Path::new("")));
    terms.key.as_deref().map_or_else(certificate, |path| ("keyfile", path))
}

fn is_encrypted(pem: &[u8]) -> bool {
    // PKCS #8 and the older form, which says it in a header.
    [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

/// What is wrong with PEM, without the bytes that were found: they may be of a key.
fn broken(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a part without its END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line that is none",
        PemError::Base64Decode(_) => "a part that is no base64",
        _ => "something else",
    }
}
