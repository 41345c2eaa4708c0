//! `haven.json`: the addresses, keys and processes of a running platform, for other programs. The
//! fields are part of the public contract.

use std::fs;
use std::path::Path;

use adapter_aws::LocalAccess;
use anyhow::Context as _;
use haven_console::BadUsage;
use serde::{Deserialize, Serialize};

use crate::{format, private_file};

/// The name of the file in the state directory.
pub const FILE: &str = "haven.json";

/// The content of `haven.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub storefront: String,
    pub aws_endpoint: String,
    pub region: String,
    /// The key pair of this run for the local AWS. Absent in the file of an older haven.
    #[serde(default)]
    pub aws_access_key_id: String,
    #[serde(default)]
    pub aws_secret_access_key: String,
    pub database_url: String,
    pub redis_url: Option<String>,
    pub payment_url: String,
    /// The bearer token for calls to the payment gateway. Absent in the file of an older haven.
    #[serde(default)]
    pub payment_api_key: String,
    pub staff_token: String,
    pub roles: Vec<RoleFacts>,
    /// The pid of the supervisor.
    pub pid: u32,
    /// The pid of the local AWS, if it is a process of this machine.
    pub aws_pid: Option<u32>,
    /// Whether all roles have become ready since the last start.
    pub ready: bool,
}

/// One role in `haven.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFacts {
    pub name: String,
    /// The pid; 0 while the role does not run.
    pub pid: u32,
    /// The base URL of the health endpoints.
    pub health: String,
}

impl Facts {
    /// Returns the endpoint, region and key pair of the local AWS.
    pub fn aws_access(&self) -> LocalAccess {
        LocalAccess {
            endpoint: self.aws_endpoint.clone(),
            region: self.region.clone(),
            access_key_id: self.aws_access_key_id.clone(),
            secret_access_key: self.aws_secret_access_key.clone(),
        }
    }

    /// Returns when the platform was started, if the system records it.
    pub fn started_at(&self) -> Option<std::time::SystemTime> {
        crate::process::started_at(self.pid)
    }

    /// Reads the file of a state directory.
    ///
    /// # Errors
    /// [`BadUsage`] when the file or its directory belongs to another user, or when the file is a
    /// symbolic link or has another format. Another error when the file cannot be read. A missing
    /// file means that no platform is running in the directory.
    pub fn read(folder: &Path) -> anyhow::Result<Facts> {
        private_file::check_owner(folder)?;
        let path = folder.join(FILE);
        let text = match private_file::read_own(&path) {
            Err(error) if private_file::is_refusal(&error) => {
                return Err(private_file::unusable(
                    error,
                    format!("{} cannot be used", path.display()),
                ));
            }
            text => text.with_context(|| format!("read {}", path.display()))?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            let (path, version) = (path.display(), format::VERSION);
            let why = format!(
                "haven {version} cannot read {path} ({error}): choose another state directory with --state DIR"
            );
            BadUsage(why).into()
        })
    }

    /// Replaces the file in one step, so readers never see half of it. The file is readable only by
    /// its owner, because it contains the staff token.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("encode haven.json")?;
        private_file::write(&folder.join(FILE), text.as_bytes())
    }

    /// Removes the file, if it exists.
    pub fn remove(folder: &Path) {
        // The file may be missing, and a failure has no consequence here.
        let _ = fs::remove_file(folder.join(FILE));
    }
}
