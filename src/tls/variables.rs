//! The TLS variables of the environ, with the names of mod_ssl's `StdEnvVars`, which nginx configurations follow.
//! Values are UTF-8 where a certificate contains text.

use std::fmt::Write as _;

use rustls::{ProtocolVersion, ServerConnection};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{DateTime, Decode, Error as DerError};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::names;

/// Environ keys and their values.
#[derive(Debug, Default)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    pub(super) fn of(connection: &ServerConnection) -> Variables {
        let mut variables = Variables::default();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        variables.add("SSL_PROTOCOL", version);
        if let Some(suite) = connection.negotiated_cipher_suite() {
            variables.add("SSL_CIPHER", cipher_name(&format!("{:?}", suite.suite())));
        }
        if let Some(name) = connection.server_name() {
            variables.add("SSL_TLS_SNI", name);
        }
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        match shown.map(|der| (der, Certificate::from_der(der))) {
            None => variables.add("SSL_CLIENT_VERIFY", "NONE"),
            Some((der, certificate)) => variables.add_shown(der, certificate),
        }
        variables
    }

    /// Returns each key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// Adds a certificate that a trusted authority has signed. One that cannot be read is not passed off as none.
    fn add_shown(&mut self, der: &[u8], certificate: Result<Certificate, DerError>) {
        if let Ok(pem) = pem::encode_string("CERTIFICATE", LineEnding::LF, der) {
            self.add("SSL_CLIENT_CERT", pem);
        }
        match certificate {
            Ok(certificate) => self.add_client(&certificate),
            Err(error) => {
                tracing::warn!(%error, "client certificate cannot be read\nhint: SSL_CLIENT_CERT has it in PEM");
                self.add("SSL_CLIENT_VERIFY", format!("FAILED:{UNREADABLE}"));
            }
        }
    }

    fn add_client(&mut self, certificate: &Certificate) {
        let about = &certificate.tbs_certificate;
        self.add("SSL_CLIENT_VERIFY", "SUCCESS");
        let serial = about.serial_number.as_bytes().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        });
        self.add("SSL_CLIENT_M_VERSION", (about.version as u8 + 1).to_string());
        self.add("SSL_CLIENT_M_SERIAL", serial);
        self.add("SSL_CLIENT_V_START", moment(&about.validity.not_before.to_date_time()));
        self.add("SSL_CLIENT_V_END", moment(&about.validity.not_after.to_date_time()));
        self.add_name("SSL_CLIENT_S_DN", &about.subject);
        self.add_name("SSL_CLIENT_I_DN", &about.issuer);
        if let Ok(Some((_, names))) = about.get::<SubjectAltName>() {
            let (mut emails, mut hosts) = (0, 0);
            for name in &names.0 {
                match name {
                    GeneralName::Rfc822Name(name) => {
                        self.add(format!("SSL_CLIENT_SAN_Email_{emails}"), names::without_controls(name.as_str()));
                        emails += 1;
                    }
                    GeneralName::DnsName(name) => {
                        self.add(format!("SSL_CLIENT_SAN_DNS_{hosts}"), names::without_controls(name.as_str()));
                        hosts += 1;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Adds a whole name (RFC 4514), and the parts that mod_ssl has keys for. Repeated parts are numbered.
    fn add_name(&mut self, key: &str, name: &Name) {
        self.add(key, names::whole(name));
        for part in name.0.iter().flat_map(|parts| parts.0.iter()) {
            let Some((_, short)) = PARTS.iter().find(|(oid, _)| *oid == part.oid) else { continue };
            let mut key = format!("{key}_{short}");
            let before = self.0.iter().filter(|(known, _)| *known == key || is_numbered(known, &key)).count();
            if before > 0 {
                let _ = write!(key, "_{before}");
            }
            self.add(key, names::part(part));
        }
    }
}

/// True for `SSL_CLIENT_S_DN_OU_1`, given `SSL_CLIENT_S_DN_OU`.
fn is_numbered(known: &str, key: &str) -> bool {
    let rest = known.strip_prefix(key).and_then(|rest| rest.strip_prefix('_'));
    rest.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Formats a time as OpenSSL does: `Nov  5 09:00:00 2026 GMT`.
fn moment(time: &DateTime) -> String {
    let month = MONTHS[usize::from(time.month().saturating_sub(1)).min(11)];
    let (day, hour, minute, second) = (time.day(), time.hour(), time.minutes(), time.seconds());
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02} {} GMT", time.year())
}

/// Returns OpenSSL's name of a suite, given rustls's.
fn cipher_name(suite: &str) -> String {
    if let Some(name) = suite.strip_prefix("TLS13_") {
        return format!("TLS_{name}");
    }
    let name = suite.strip_prefix("TLS_").unwrap_or(suite).replace("_WITH_", "_").replace('_', "-");
    name.replace("AES-256", "AES256").replace("AES-128", "AES128").replace("POLY1305-SHA256", "POLY1305")
}

/// The reason after `FAILED:`, in the form of mod_ssl and nginx.
const UNREADABLE: &str = "the certificate cannot be read";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Attributes of names (RFC 4519), with mod_ssl's names.
const PARTS: [(ObjectIdentifier, &str); 12] = [
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "T"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "I"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "G"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "S"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "Email"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_openssl() {
        for (registered, expected) in [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ] {
            assert_eq!(cipher_name(registered), expected);
        }
    }
}
