//! The AWS clients of `haven`: for the local AWS, or for the account of an environment.

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
use provision::account::parameters_of;
use provision::aws_failure::failure_to;
use provision::deploy::{Deployed, deploy};
use provision::{Reporter, Target};
use worker::grants::Grants;

/// Clients for one AWS: the local AWS or an account in one region.
pub struct Aws {
    clients: Clients,
    adapters: worker::aws::Aws,
}

impl Aws {
    /// Makes clients for a local AWS. The environment of this process has no influence.
    pub fn local(access: &LocalAccess) -> Aws {
        let clients = Clients::local(access, Arc::new(|_| {}));
        Aws {
            adapters: worker::aws::Aws::of(clients.clone()),
            clients,
        }
    }

    /// Makes clients for an account, with the credentials of the user who runs the command. If
    /// `endpoint` is given, calls go there.
    pub async fn in_account(endpoint: Option<&str>, region: &str) -> Aws {
        // The SDK would use an empty `AWS_PROFILE` as the name of a profile.
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

    /// Returns the target for deployments of `environment`.
    pub fn target(&self, environment: blueprint::Environment) -> Target {
        Target::new(environment, self.clients.config())
    }

    /// Deploys the stacks of a local shop.
    ///
    /// # Errors
    /// When a stack fails.
    pub async fn deploy_shop(&self) -> anyhow::Result<Deployed> {
        let target = self.target(blueprint::Environment::shop());
        deploy(&target, &Reporter::quiet()).await
    }

    /// Returns the SQS client.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.clients.sqs()
    }

    /// Returns the addresses of the deployed resources, by the roles' environment variables.
    ///
    /// # Errors
    /// When Parameter Store cannot be read, or an address is missing.
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
        found.context("read the addresses of the deployed resources")
    }

    /// Returns the values of the secrets, by slug.
    ///
    /// # Errors
    /// When a secret cannot be read, or contains no text.
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
            let got = got.map_err(failure_to(format!("read the secret {id}")))?;
            let value = got
                .secret_string
                .with_context(|| format!("the secret {id} has no text value"))?;
            secrets.insert(secret.slug, value);
        }
        Ok(secrets)
    }

    /// Returns the stock tables. `actor` is recorded in the ledger entries of changes.
    ///
    /// # Errors
    /// When an address is missing.
    pub fn stock(
        &self,
        addresses: &HashMap<String, String>,
        actor: &str,
    ) -> anyhow::Result<DynamoStock> {
        self.adapters
            .stock(&Grants::of_operator(addresses.clone()), actor)
    }

    /// Returns a queue and its dead-letter queue, with the permissions of an operator.
    ///
    /// # Errors
    /// When an address is missing.
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

    /// Returns the order view.
    ///
    /// # Errors
    /// When an address is missing.
    pub fn views(&self, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoViews> {
        self.adapters.views(&Grants::of_operator(addresses.clone()))
    }

    /// Sets the time to live of every table that has one. The local AWS ignores this setting in
    /// templates. Nothing depends on the deletion of old items, so a failure is ignored.
    pub(crate) async fn set_time_to_live(&self, addresses: &HashMap<String, String>) {
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

    /// Deletes the leases of all stream readers. The local AWS loses its stream records when it
    /// stops, so readers must not continue at their checkpoints. A reader without a lease first
    /// reads the whole table.
    ///
    /// # Errors
    /// When the leases cannot be read or deleted.
    pub(crate) async fn forget_leases(
        &self,
        addresses: &HashMap<String, String>,
    ) -> anyhow::Result<()> {
        let name = addresses
            .get(&Address::Table(&LEASES).variable())
            .context("the leases table was not deployed")?;
        let client = self.clients.dynamodb();
        let leases = client.scan().table_name(name).send().await;
        let leases = leases.map_err(failure_to("read the leases"))?;
        for lease in leases.items() {
            let Some(id) = lease.get(LEASES.partition.attribute) else {
                continue;
            };
            let delete = client
                .delete_item()
                .table_name(name)
                .key(LEASES.partition.attribute, id.clone());
            delete.send().await.map_err(failure_to("delete a lease"))?;
        }
        Ok(())
    }

    /// Returns the alarms whose names begin with `prefix`.
    ///
    /// # Errors
    /// When CloudWatch does not answer.
    pub async fn alarms(&self, prefix: &str) -> anyhow::Result<Alarms> {
        use aws_sdk_cloudwatch::types::StateValue;
        let (mut count, mut firing) = (0, Vec::new());
        let client = self.clients.cloudwatch();
        let call = client.describe_alarms().alarm_name_prefix(prefix);
        let mut pages = call.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(failure_to("read the alarms"))?;
            count += page.metric_alarms().len();
            let in_alarm = page
                .metric_alarms()
                .iter()
                .filter(|alarm| alarm.state_value() == Some(&StateValue::Alarm));
            firing.extend(in_alarm.filter_map(|alarm| alarm.alarm_name().map(str::to_owned)));
        }
        Ok(Alarms { count, firing })
    }

    /// Returns the approximate numbers of waiting, in-flight and dead messages of every queue.
    ///
    /// # Errors
    /// When a queue was not deployed or cannot be read.
    pub async fn queues(
        &self,
        addresses: &HashMap<String, String>,
    ) -> anyhow::Result<Vec<QueueStatus>> {
        use aws_sdk_sqs::types::QueueAttributeName;
        let client = self.clients.sqs();
        let count =
            async |address: Address, attribute: QueueAttributeName| -> anyhow::Result<u64> {
                let url = addresses
                    .get(&address.variable())
                    .context("a queue was not deployed")?;
                let got = client
                    .get_queue_attributes()
                    .queue_url(url)
                    .attribute_names(attribute.clone())
                    .send()
                    .await;
                let got = got.map_err(failure_to(format!(
                    "read the attributes of the queue {url}"
                )))?;
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

/// The alarms of an environment.
pub struct Alarms {
    pub count: usize,
    /// The names of those in the state ALARM.
    pub firing: Vec<String>,
}

/// The approximate numbers of messages of a queue and its dead-letter queue.
#[derive(Debug, Clone, serde::Serialize)]
pub struct QueueStatus {
    pub queue: &'static str,
    pub waiting: u64,
    pub in_hand: u64,
    pub parked: u64,
}
