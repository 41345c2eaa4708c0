//! Certificates for a server on loopback, and the root that signed them. The files are deleted when
//! the value is dropped.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::Folder;

/// Paths of a root certificate, and of a server's certificate and private key (PEM).
pub struct Certificates {
    pub root: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    _folder: Folder,
}

impl Certificates {
    /// Creates a certificate that is valid for the host name `localhost` only.
    ///
    /// # Panics
    /// If a key or a file cannot be created.
    pub fn new() -> Certificates {
        let folder = Folder::new();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("a root");
        let key = key();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let server = server.signed_by(&key, &authority).expect("signed");
        Certificates {
            root: written(&folder.0, "root.pem", &authority.pem()),
            certificate: written(&folder.0, "server.pem", &server.pem()),
            key: written(&folder.0, "server.key", &key.serialize_pem()),
            _folder: folder,
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Certificates::new()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// Writes a file that only its owner can read. PostgreSQL refuses a key with wider permissions.
fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    std::fs::create_dir_all(folder).expect("a directory");
    let path = folder.join(name);
    let file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path);
    file.expect("a file")
        .write_all(text.as_bytes())
        .expect("written");
    path
}
