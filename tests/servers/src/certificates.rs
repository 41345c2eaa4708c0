//! Certificates for a server on loopback, and the root that they hang on; gone with the value.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::Folder;

pub struct Certificates {
    pub root: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    _folder: Folder,
}

impl Certificates {
    /// For a server that is called `localhost`, and by nothing else.
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

/// Readable by its owner alone: PostgreSQL takes no other key.
fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    std::fs::create_dir_all(folder).expect("a folder");
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
