//! AWS as `haven` sees it: the local one, or whatever the environment names.

use std::collections::HashMap;
use std::sync::Arc;

use adapter_aws::{Clients, DynamoStock, DynamoViews, LocalAccess, SqsParking};
use anyhow::Context as _;
use chassis::config::{Environment as _, ProcessEnvironment};
use contract::address::Address;
use contract::parameter::SECRETS;
use contract::parameter_root;
use contract::queue::Queue;
use contract::table::{LEASES, TABLES};
use worker::grants::Grants;

use crate::failed::failed;
use crate::provision::{Target, parameters_of};

pub struct Aws {
    clients: Clients,
    adapters: worker::aws::Aws,
}

impl Aws {
    /// Connects to a local AWS, whatever this process's environment says.
    pub fn local(access: &LocalAccess) -> Aws {
        let clients = Clients::local(access, Arc::new(|_| {}));
        Aws {
            adapters: worker::aws::Aws::of(clients.clone()),
            clients,
        }
    }

    /// An account, with the credentials of whoever runs this; at another endpoint when one is
    /// given.
    pub async fn in_account(endpoint: Option<&str>, region: &str) -> Aws {
        // The SDK takes an empty name for the name of a profile.
        let profile = ProcessEnvironment
            .get("AWS_PROFILE")
            .is_none()
            .then_some("default");
        let clients = Clients::in_account(endpoint, profile, region, Arc::new(|_| {})).await;
        Aws {
            adapters: worker::aws::Aws::of(clients.clone()),
            clients,
        }
    }

    pub fn target(&self, environment: blueprint::Environment) -> Target {
        Target::new(environment, self.clients.config())
    }

    pub fn cloudwatch(&self) -> aws_sdk_cloudwatch::Client {
        self.clients.cloudwatch()
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.clients.sqs()
    }

    /// Where the stacks have put everything, by the roles' variables.
    pub async fn addresses(&self, environment: &str) -> anyhow::Result<HashMap<String, String>> {
        let parameters = parameters_of(self.clients.config(), environment).await?;
        let root = parameter_root(environment);
        let found = adapter_aws::addresses_of(|name| {
            let name = format!("{root}/{name}");
            let found = parameters
                .iter()
                .find(|parameter| parameter.name() == Some(name.as_str()))?;
            found.value().map(str::to_owned)
        });
        found.context("read where the stacks put everything")
    }

    /// By the secret's slug.
    pub async fn secrets(
        &self,
        environment: &str,
    ) -> anyhow::Result<HashMap<&'static str, String>> {
        let mut secrets = HashMap::new();
        for secret in SECRETS {
            let id = secret.id(environment);
            let got = self
                .clients
                .secrets()
                .get_secret_value()
                .secret_id(&id)
                .send()
                .await;
            let got = got.map_err(|error| failed(format!("read the secret {id}"), &error))?;
            let value = got
                .secret_string
                .with_context(|| format!("the secret {id} holds no text"))?;
            secrets.insert(secret.slug, value);
        }
        Ok(secrets)
    }

    /// `actor` stands in the ledger beside what is moved.
    pub fn stock(
        &self,
        addresses: &HashMap<String, String>,
        actor: &str,
    ) -> anyhow::Result<DynamoStock> {
        self.adapters
            .stock(&Grants::of_operator(addresses.clone()), actor)
    }

    /// A queue and its parking queue, as an operator handles them.
    pub fn parking(
        &self,
        queue: &'static Queue,
        addresses: &HashMap<String, String>,
    ) -> anyhow::Result<SqsParking> {
        let url = |address: Address| {
            addresses
                .get(&address.variable())
                .cloned()
                .context("a queue was not deployed")
        };
        Ok(SqsParking {
            client: self.clients.sqs(),
            polls: self.clients.sqs_polls(),
            queue,
            url: url(Address::Queue(queue))?,
            parking_url: url(Address::ParkingQueue(queue))?,
        })
    }

    pub fn views(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoViews> {
        self.adapters.views(&Grants::of_operator(addresses.clone()))
    }

    /// The local AWS ignores time to live in a template; nothing relies on it, so a refusal is no
    /// failure.
    pub async fn set_time_to_live(&self, addresses: &HashMap<String, String>) {
        use aws_sdk_dynamodb::types::TimeToLiveSpecification;
        for table in TABLES {
            let name = addresses.get(&Address::Table(table).variable());
            let (Some(attribute), Some(name)) = (table.ttl_attribute, name) else {
                continue;
            };
            let specification = TimeToLiveSpecification::builder()
                .attribute_name(attribute)
                .enabled(true)
                .build();
            if let Ok(specification) = specification {
                let call = self
                    .clients
                    .dynamodb()
                    .update_time_to_live()
                    .table_name(name);
                let _ = call.time_to_live_specification(specification).send().await;
            }
        }
    }

    /// The local AWS forgets stream records when it stops, so its readers must not go on where they
    /// were: without a lease they read the whole table first.
    pub async fn forget_leases(&self, addresses: &HashMap<String, String>) -> anyhow::Result<()> {
        let name = addresses
            .get(&Address::Table(&LEASES).variable())
            .context("the leases table was not deployed")?;
        let client = self.clients.dynamodb();
        let leases = client.scan().table_name(name).send().await;
        let leases = leases.map_err(|error| failed("read the leases", &error))?;
        for lease in leases.items() {
            let Some(id) = lease.get(LEASES.partition.attribute) else {
                continue;
            };
            let delete = client
                .delete_item()
                .table_name(name)
                .key(LEASES.partition.attribute, id.clone());
            delete
                .send()
                .await
                .map_err(|error| failed("delete a lease", &error))?;
        }
        Ok(())
    }

    /// Messages waiting, in hand and parked, by queue.
    pub async fn queues(
        &self,
        addresses: &HashMap<String, String>,
    ) -> anyhow::Result<Vec<QueueStatus>> {
        use aws_sdk_sqs::types::QueueAttributeName;
        let client = self.clients.sqs();
        let count = async |address: Address,
                           attribute: QueueAttributeName|
               -> anyhow::Result<u64> {
            let url = addresses
                .get(&address.variable())
                .context("a queue was not deployed")?;
            let got = client
                .get_queue_attributes()
                .queue_url(url)
                .attribute_names(attribute.clone())
                .send()
                .await;
            let got = got.map_err(|error| failed(format!("ask about the queue {url}"), &error))?;
            let count = got
                .attributes
                .and_then(|all| all.get(&attribute)?.parse().ok());
            Ok(count.unwrap_or_default())
        };
        let mut queues = Vec::new();
        for queue in contract::queue::QUEUES {
            use QueueAttributeName::{
                ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible,
            };
            queues.push(QueueStatus {
                queue: queue.slug,
                waiting: count(Address::Queue(queue), ApproximateNumberOfMessages).await?,
                in_hand: count(Address::Queue(queue), ApproximateNumberOfMessagesNotVisible)
                    .await?,
                parked: count(Address::ParkingQueue(queue), ApproximateNumberOfMessages).await?,
            });
        }
        Ok(queues)
    }
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct QueueStatus {
    pub queue: &'static str,
    pub waiting: u64,
    pub in_hand: u64,
    pub parked: u64,
}
