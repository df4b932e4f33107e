//! Reads certificates and keys from PEM files, and checks them as far as possible without a client.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::TlsProblem;
use super::identity::Identity;
use super::material::{Material, broken, private_key};
use crate::os::{self, place};
use crate::settings::{ClientCertificates, TlsTerms};

impl Material {
    /// Reads the files and checks that they make a valid server configuration.
    pub fn read(terms: &TlsTerms) -> Result<Material, TlsProblem> {
        let Some(certificate) = &terms.certificate else {
            return Err(TlsProblem::of("certfile", "expected a file with the certificate of keyfile, found none"));
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
                            hint: cert_reqs requests client certificates, and ca_certs contains the trusted authorities";
                return Err(TlsProblem::of("ca_certs", text));
            }
        };
        let material = Material { chain, key, authorities };
        Identity::new(&material, terms)?;
        Ok(material)
    }
}

fn contents(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    place::read(path).map_err(|error| {
        TlsProblem::at(setting, path, format_args!("expected a file that can be read, found {}", os::words(&error)))
    })
}

fn certificates(setting: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<Vec<u8>>, TlsProblem> {
    let expected = "expected certificates in PEM";
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate
            .map_err(|error| TlsProblem::at(setting, path, format_args!("{expected}, found {}", broken(&error))))?;
        found.push(certificate.to_vec());
    }
    if found.is_empty() {
        let hint = if Certificate::from_der(pem).is_ok() {
            "found one in DER\nhint: openssl x509 -inform der -in FILE -out NEW converts it to PEM"
        } else {
            "found none\nhint: it begins with -----BEGIN CERTIFICATE-----"
        };
        return Err(TlsProblem::at(setting, path, format_args!("{expected}, {hint}")));
    }
    Ok(found)
}
