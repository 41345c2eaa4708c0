//! `haven.json`: what others may know of a running platform. Its fields are part of the public
//! contract.

use std::fs;
use std::path::Path;

use adapter_aws::LocalAccess;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{format, guard};
use crate::target::BadUsage;

pub const FILE: &str = "haven.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub storefront: String,
    pub aws_endpoint: String,
    pub region: String,
    /// This run's key pair for the local AWS; not in a file of an older version.
    #[serde(default)]
    pub aws_access_key_id: String,
    #[serde(default)]
    pub aws_secret_access_key: String,
    pub database_url: String,
    pub redis_url: Option<String>,
    pub payment_url: String,
    /// The bearer token of every call to the payment gateway. Absent in the file of an older haven.
    #[serde(default)]
    pub payment_api_key: String,
    pub staff_token: String,
    pub roles: Vec<RoleFacts>,
    /// The process that watches over the others.
    pub pid: u32,
    /// The local AWS, when it is a process of ours.
    pub aws_pid: Option<u32>,
    /// Whether everything has been ready since the last start.
    pub ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFacts {
    pub name: String,
    /// Zero while it is between two lives.
    pub pid: u32,
    /// Address of its health endpoints.
    pub health: String,
}

impl Facts {
    /// Returns how to call the local AWS.
    pub fn aws_access(&self) -> LocalAccess {
        LocalAccess {
            endpoint: self.aws_endpoint.clone(),
            region: self.region.clone(),
            access_key_id: self.aws_access_key_id.clone(),
            secret_access_key: self.aws_secret_access_key.clone(),
        }
    }

    /// # Errors
    /// [`BadUsage`] when the file or its directory belongs to another user, or the file is a link
    /// or not one of haven's. Another error when it is not there: nothing runs on the directory.
    pub fn read(folder: &Path) -> anyhow::Result<Facts> {
        guard::check_owner(folder)?;
        let path = folder.join(FILE);
        let text = match guard::read_own(&path) {
            Err(error) if guard::is_refusal(&error) => {
                return Err(guard::unusable(
                    error,
                    format!("{} cannot be used", path.display()),
                ));
            }
            text => text.with_context(|| {
                format!(
                    "{} is not there: nothing runs on this state folder",
                    path.display()
                )
            })?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            let (path, version) = (path.display(), format::VERSION);
            let why = format!(
                "haven {version} cannot read {path} ({error}): choose another state directory with --state DIR"
            );
            BadUsage::Said(why).into()
        })
    }

    /// Readers see the old file or the new one, never half of one. The staff token is in it: for
    /// the owner's eyes.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("encode haven.json")?;
        guard::write(&folder.join(FILE), text.as_bytes())
    }

    pub fn remove(folder: &Path) {
        // Gone already is as good.
        let _ = fs::remove_file(folder.join(FILE));
    }
}
