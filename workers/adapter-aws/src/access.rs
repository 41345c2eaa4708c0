//! Access to the local AWS of `haven up`.

use std::fmt;

/// The endpoint of the local AWS, and the key pair that it accepts. `Debug` hides the secret key.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalAccess {
    /// URL of the endpoint.
    pub endpoint: String,
    /// Name of the region.
    pub region: String,
    /// Id of the access key.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

impl LocalAccess {
    /// Returns the access to an endpoint that verifies no signatures, such as a stub in tests.
    pub fn unverified(endpoint: &str, region: &str) -> LocalAccess {
        LocalAccess {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            access_key_id: "local".to_owned(),
            secret_access_key: "local".to_owned(),
        }
    }

    /// Returns the environment variables that the `aws` command and every SDK read, in the order
    /// for display.
    pub fn variables(&self) -> [(&'static str, &str); 6] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", &self.region),
            // botocore reads this name, and so do version 1 of the `aws` command and boto3.
            ("AWS_DEFAULT_REGION", &self.region),
            ("AWS_ACCESS_KEY_ID", &self.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
            // Without static credentials an SDK would call the instance metadata service, which a
            // laptop does not have.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }
}

impl fmt::Debug for LocalAccess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            region,
            access_key_id,
            secret_access_key: _,
        } = self;
        let mut shown = formatter.debug_struct("LocalAccess");
        shown
            .field("endpoint", endpoint)
            .field("region", region)
            .field("access_key_id", access_key_id);
        shown.finish_non_exhaustive()
    }
}
