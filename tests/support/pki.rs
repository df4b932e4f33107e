//! Certificates and keys, made by openssl for one test.

use std::fs;
use std::path::{Path, PathBuf};

use super::outside::{run_tool, tool};

/// A directory with an authority (`ca.pem`, `ca.key`) that has signed what is asked for.
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// A new one, with keys of ECDSA.
    pub fn new(directory: &Path) -> Authority {
        let authority = Authority { directory: directory.to_owned() };
        authority.key("ca.key");
        authority.openssl("req -x509 -new -key ca.key -days 30 -subj /O=rwsgi/CN=authority -out ca.pem");
        authority
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Runs openssl in the directory.
    pub fn openssl(&self, words: &str) -> String {
        run_tool(tool("openssl", words.split(' ').map(|word| word.replace('~', " "))).current_dir(&self.directory))
    }

    /// A key in PKCS #8.
    pub fn key(&self, name: &str) {
        self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}"));
    }

    /// A certificate for 127.0.0.1 and localhost, `NAME.pem`, of a new key, `NAME.key`.
    pub fn server(&self, name: &str) {
        self.key(&format!("{name}.key"));
        self.sign(name, &format!("/CN={name}"), "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:site.test", "-days 10");
    }

    /// A certificate of the key `NAME.key`.
    pub fn sign(&self, name: &str, subject: &str, extension: &str, validity: &str) {
        fs::write(self.directory.join("extension"), format!("{extension}\n")).unwrap();
        let subject = subject.replace(' ', "~");
        self.openssl(&format!("req -new -key {name}.key -subj {subject} -out request"));
        self.openssl(&format!(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extension {validity} -out {name}.pem"
        ));
    }
}
