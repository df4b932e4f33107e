//! Types of the TLS settings: client certificates, the lowest version, OpenSSL's cipher lists.

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::choices::{name_of, named};
use super::{InToml, Text};

/// The rule for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertificates {
    /// Clients are not asked for a certificate.
    Ignored,
    /// A client may present a certificate.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

impl ClientCertificates {
    /// The values of Python's `ssl.VerifyMode`, and its names.
    const NAMES: [(&'static str, Self); 9] = [
        ("0", Self::Ignored),
        ("1", Self::Optional),
        ("2", Self::Required),
        ("none", Self::Ignored),
        ("optional", Self::Optional),
        ("required", Self::Required),
        ("CERT_NONE", Self::Ignored),
        ("CERT_OPTIONAL", Self::Optional),
        ("CERT_REQUIRED", Self::Required),
    ];
}

impl Text for ClientCertificates {
    const EXPECTED: &'static str = "0 (none), 1 (optional) or 2 (required)";
    const IN_TOML: InToml = InToml::NumberOrText;

    fn parse(text: &str) -> Result<Self, ValueError> {
        named(&Self::NAMES, text.strip_prefix("ssl.").unwrap_or(text))
            .ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// The lowest accepted version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// Only TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// gunicorn's values, and the numbers of Python's `ssl.PROTOCOL_*`. Versions before 1.2 (RFC 8996) mean 1.2.
    const NAMES: [(&'static str, Self); 15] = [
        ("TLSv1_2", Self::Tls12),
        ("TLSv1_3", Self::Tls13),
        ("TLSv1.2", Self::Tls12),
        ("TLSv1.3", Self::Tls13),
        ("TLS", Self::Tls12),
        ("TLS_SERVER", Self::Tls12),
        ("SSLv23", Self::Tls12),
        ("SSLv3", Self::Tls12),
        ("TLSv1", Self::Tls12),
        ("TLSv1_1", Self::Tls12),
        ("2", Self::Tls12),
        ("3", Self::Tls12),
        ("4", Self::Tls12),
        ("5", Self::Tls12),
        ("17", Self::Tls12),
    ];
}

impl Text for TlsVersion {
    const EXPECTED: &'static str = "TLSv1_2 or TLSv1_3";
    const IN_TOML: InToml = InToml::NumberOrText;

    fn parse(text: &str) -> Result<Self, ValueError> {
        let name = text.strip_prefix("ssl.").unwrap_or(text);
        let name = name.strip_prefix("PROTOCOL_").unwrap_or(name);
        named(&Self::NAMES, name).ok_or_else(|| ValueError::text(Self::EXPECTED, text))
    }

    fn text(&self) -> String {
        name_of(&Self::NAMES, *self)
    }
}

/// An OpenSSL cipher list for TLS 1.2, reduced to the available suites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ciphers {
    text: String,
    suites: Vec<Suite>,
}

/// A suite of TLS 1.2. All of them have forward secrecy and authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`.
    EcdsaAes256,
    /// `ECDHE-RSA-AES256-GCM-SHA384`.
    RsaAes256,
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`.
    EcdsaAes128,
    /// `ECDHE-RSA-AES128-GCM-SHA256`.
    RsaAes128,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`.
    EcdsaChacha20,
    /// `ECDHE-RSA-CHACHA20-POLY1305`.
    RsaChacha20,
}

impl Suite {
    /// The suites with OpenSSL's names.
    const NAMES: [(&'static str, Self); 6] = [
        ("ECDHE-ECDSA-AES256-GCM-SHA384", Self::EcdsaAes256),
        ("ECDHE-RSA-AES256-GCM-SHA384", Self::RsaAes256),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", Self::EcdsaAes128),
        ("ECDHE-RSA-AES128-GCM-SHA256", Self::RsaAes128),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", Self::EcdsaChacha20),
        ("ECDHE-RSA-CHACHA20-POLY1305", Self::RsaChacha20),
    ];

    /// Returns OpenSSL's name.
    pub fn name(self) -> String {
        name_of(&Self::NAMES, self)
    }

    /// True if a word of an OpenSSL list selects the suite (openssl-ciphers(1)).
    fn is_meant(self, word: &str) -> bool {
        use Suite::{EcdsaAes128, EcdsaAes256, EcdsaChacha20, RsaAes128, RsaAes256, RsaChacha20};
        match word {
            "ALL" | "DEFAULT" | "HIGH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "ECDH" | "TLSv1.2" => true,
            "ECDSA" | "aECDSA" => matches!(self, EcdsaAes256 | EcdsaAes128 | EcdsaChacha20),
            // `RSA` alone is the exchange of keys by RSA, which none of these has; SHA256 and SHA384 are other suites' MACs.
            "aRSA" => matches!(self, RsaAes256 | RsaAes128 | RsaChacha20),
            "AES" | "AESGCM" | "FIPS" => matches!(self, EcdsaAes256 | RsaAes256 | EcdsaAes128 | RsaAes128),
            "AES256" => matches!(self, EcdsaAes256 | RsaAes256),
            "AES128" => matches!(self, EcdsaAes128 | RsaAes128),
            "SUITEB128" => matches!(self, EcdsaAes128 | EcdsaAes256),
            "SUITEB128ONLY" => matches!(self, EcdsaAes128),
            "SUITEB192" | "SUITEB128C2" => matches!(self, EcdsaAes256),
            "CHACHA20" => matches!(self, EcdsaChacha20 | RsaChacha20),
            name => self.name() == name,
        }
    }
}

impl Ciphers {
    /// Returns the suites in order of preference.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }
}

impl Text for Ciphers {
    const EXPECTED: &'static str = "an OpenSSL cipher list";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut suites: Vec<Suite> = Vec::new();
        let mut never: Vec<Suite> = Vec::new();
        for element in text.split([':', ',', ' ']).filter(|element| !element.is_empty() && !element.starts_with('@')) {
            let (sign, words) = match element.as_bytes()[0] {
                sign @ (b'!' | b'-' | b'+') => (sign, &element[1..]),
                _ => (b' ', element),
            };
            // `DEFAULT@SECLEVEL=1` is a list with a command at its end.
            let words = words.split('@').next().unwrap_or_default();
            // A word that selects none of these suites is ignored, as in OpenSSL: lists still name removed suites.
            let meant = |suite: &Suite| words.split('+').all(|word| suite.is_meant(word));
            let all = Suite::NAMES.iter().map(|(_, suite)| *suite);
            match sign {
                b'!' => never.extend(all.filter(meant)),
                b'-' => suites.retain(|suite| !meant(suite)),
                b'+' => suites.sort_by_key(meant),
                _ => all.filter(meant).for_each(|suite| {
                    if !suites.contains(&suite) {
                        suites.push(suite);
                    }
                }),
            }
        }
        suites.retain(|suite| !never.contains(suite));
        if suites.is_empty() {
            let names = Suite::NAMES.map(|(name, _)| name).join(":");
            let wrong = ValueError::text("an OpenSSL cipher list with at least one supported cipher", text);
            return Err(wrong.hint(format!("the ciphers of TLS 1.2 are {names}; those of TLS 1.3 are always enabled")));
        }
        Ok(Self { text: text.to_owned(), suites })
    }

    fn text(&self) -> String {
        self.text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Suite::{EcdsaAes128, EcdsaAes256, EcdsaChacha20, RsaAes128, RsaAes256, RsaChacha20};
    use super::{Ciphers, ClientCertificates, Suite, Text, TlsVersion};

    #[test]
    fn lists_of_ciphers_mean_what_they_mean_to_openssl() {
        let all = [EcdsaAes256, RsaAes256, EcdsaAes128, RsaAes128, EcdsaChacha20, RsaChacha20];
        let cases: [(&str, &[Suite]); 13] = [
            ("HIGH:!aNULL:!MD5", &all),
            ("ECDHE+AESGCM:!ECDSA", &[RsaAes256, RsaAes128]),
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", &[RsaAes128, RsaAes256]),
            ("DHE-RSA-AES256-SHA,ECDHE-ECDSA-CHACHA20-POLY1305", &[EcdsaChacha20]),
            ("CHACHA20:-ECDSA:@STRENGTH", &[RsaChacha20]),
            ("AES128 CHACHA20:+AES128", &[EcdsaChacha20, RsaChacha20, EcdsaAes128, RsaAes128]),
            ("!RSA:ALL", &all),
            ("!aRSA:ALL", &[EcdsaAes256, EcdsaAes128, EcdsaChacha20]),
            ("DEFAULT@SECLEVEL=1", &all),
            ("HIGH:!SHA256:!SHA384:!RSA:@STRENGTH", &all),
            ("SUITEB192", &[EcdsaAes256]),
            ("FIPS:!ECDSA", &[RsaAes256, RsaAes128]),
            ("EECDH+AES256:EECDH+aRSA+AES256", &[EcdsaAes256, RsaAes256]),
        ];
        for (text, suites) in cases {
            assert_eq!(Ciphers::parse(text).unwrap().suites(), suites, "{text}");
        }
        for text in ["", "RC4-SHA", "AES256-SHA:DHE-RSA-AES128-SHA", "ALL:!ECDHE"] {
            let hint = Ciphers::parse(text).unwrap_err().hint.unwrap();
            assert!(hint.contains("ECDHE-RSA-AES128-GCM-SHA256"), "{text}: {hint}");
        }
    }

    #[test]
    fn names_and_numbers_of_python_are_known() {
        for text in ["2", "required", "CERT_REQUIRED", "ssl.CERT_REQUIRED"] {
            assert_eq!(ClientCertificates::parse(text).unwrap(), ClientCertificates::Required, "{text}");
        }
        assert!(ClientCertificates::parse("3").is_err());
        for text in ["TLS", "2", "SSLv23", "ssl.PROTOCOL_TLS_SERVER", "TLSv1", "tlsv1_2"] {
            assert_eq!(TlsVersion::parse(text).unwrap(), TlsVersion::Tls12, "{text}");
        }
        assert_eq!(TlsVersion::parse("TLSv1.3").unwrap(), TlsVersion::Tls13);
        assert!(TlsVersion::parse("TLSv2").is_err());
    }
}
