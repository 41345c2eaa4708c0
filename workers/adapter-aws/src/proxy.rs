//! Chooses a client for each request of an SDK: one for hosts that no proxy can reach, and one that
//! follows `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (see [`chassis::proxy`]).

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use chassis::proxy::is_direct;

/// Chooses between two clients by the host of each request. Each service can have its own endpoint,
/// and credentials come from other addresses.
#[derive(Debug, Clone)]
pub(crate) struct ByHost {
    /// The client without a proxy.
    pub direct: SharedHttpClient,
    /// The client that follows the proxy variables.
    pub proxied: SharedHttpClient,
}

impl HttpClient for ByHost {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connectors {
            clients: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.direct.connector_metadata()
    }
}

#[derive(Debug)]
struct Connectors {
    clients: ByHost,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = if is_direct(request.uri()) {
            &self.clients.direct
        } else {
            &self.clients.proxied
        };
        // The client caches connectors, and with them their connections.
        client
            .http_connector(&self.settings, &self.components)
            .call(request)
    }
}
