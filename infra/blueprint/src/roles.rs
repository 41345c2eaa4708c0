//! IAM policies of the roles: exactly the rights that the contract grants them.

use std::collections::BTreeSet;

use contract::address::Address;
use contract::parameter::Secret;
use contract::parameter_root;
use contract::role::{Access, ROLES, Role};
use serde::Serialize;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::names::{MAIL_DOMAIN, Shared, export_of_arn, parameter_arn, secret_arn};
use crate::template::{Statement, logical, sub};

/// A right of a role to use something outside its process.
struct Edge {
    actor: Actor,
    statement: Statement,
    /// A condition of the statement.
    condition: Option<Value>,
    key: Option<KeyUse>,
}

/// The IAM role that uses a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The task role of the process.
    Process,
    /// The execution role with which ECS puts secrets into the environment before the process
    /// starts.
    Starter,
}

/// The use of the KMS key that encrypts a right's resource, if that is a key of ours.
#[derive(Clone, Copy)]
struct KeyUse {
    key: Shared,
    /// The only service through which the key may be used.
    service: &'static str,
    actions: &'static [&'static str],
}

/// The actions with which ECS pulls an image.
pub const PULL_IMAGES: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
];

/// Returns one statement per right of a role.
pub fn statements(role: &Role, environment: &Environment) -> Vec<Statement> {
    let edges = edges(role, environment).into_iter();
    edges.map(|edge| edge.statement).collect()
}

/// Returns the policy statements of one of the role's two IAM roles. `more` are statements that no
/// right of the contract requires.
pub fn statements_of(
    role: &Role,
    environment: &Environment,
    actor: Actor,
    more: &[Statement],
) -> Vec<Value> {
    let edges = edges_of(role, environment, actor);
    let mut statements: Vec<Value> = more.iter().map(named).collect();
    statements.extend(edges.iter().map(|edge| {
        let mut json = named(&edge.statement);
        if let Some(condition) = &edge.condition {
            json["Condition"] = condition.clone();
        }
        json
    }));
    statements.extend(key_statements(&edges, environment));
    let sends_texts = actor == Actor::Process && role.text_messages;
    statements.extend(sends_texts.then(no_topic));
    statements
}

/// Returns the reasons of an IAM role's rights, one per right. Roles with the same reasons need the
/// same policy.
pub fn reasons(role: &Role, environment: &Environment, actor: Actor) -> Vec<String> {
    let edges = edges_of(role, environment, actor).into_iter();
    edges.map(|edge| edge.statement.because).collect()
}

fn edges_of(role: &Role, environment: &Environment, actor: Actor) -> Vec<Edge> {
    let mut edges = edges(role, environment);
    edges.retain(|edge| edge.actor == actor);
    edges
}

/// Returns a policy document with these statements.
pub fn document(statements: impl Serialize) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Returns a statement with a Sid made of its reason, such as `ConsumesOrders`. A Sid allows
/// letters and digits only (IAM User Guide, "IAM JSON policy elements: Sid").
pub fn named(statement: &Statement) -> Value {
    let mut json = statement.to_json();
    json["Sid"] = json!(logical(&statement.because));
    json
}

/// Returns why a statement with this Sid exists. The reason is a right of a role, the rights whose
/// resources a key encrypts, or a need of every (public) service.
pub fn demand(environment: &Environment, sid: &str) -> Option<String> {
    const OF_A_SERVICE: [(&str, &str); 7] = [
        (
            NO_TOPIC,
            "sends text messages: only to phones, not to topics",
        ),
        ("StartsFromTheImage", "is a role: ECS pulls its image"),
        (
            "LogsInToTheRegistry",
            "is a role: ECS logs in to the image registry",
        ),
        ("WritesTheLog", "is a role: its tasks write logs"),
        (
            "LooksAtTheBalancer",
            "is public: a blue/green deployment shifts its traffic",
        ),
        (
            "TurnsTheTraffic",
            "is public: a blue/green deployment shifts its traffic",
        ),
        (
            "RegistersTasks",
            "is public: its tasks are targets of the load balancer",
        ),
    ];
    let all: Vec<Edge> = ROLES
        .iter()
        .flat_map(|role| edges(role, environment))
        .collect();
    let because = |edge: &Edge| edge.statement.because.clone();
    if let Some(edge) = all
        .iter()
        .find(|edge| logical(&edge.statement.because) == sid)
    {
        return Some(because(edge));
    }
    let opened: BTreeSet<String> = all
        .iter()
        .filter(|edge| {
            edge.key
                .is_some_and(|used| logical(&opens(used.key)) == sid)
        })
        .map(because)
        .collect();
    if !opened.is_empty() {
        return Some(format!(
            "uses resources that the key encrypts: {}",
            opened.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    OF_A_SERVICE
        .iter()
        .find(|(known, _)| *known == sid)
        .map(|(_, demand)| (*demand).to_owned())
}

fn opens(key: Shared) -> String {
    format!("opens the {} key", key.data_class())
}

/// Returns all rights of a role, from the contract only.
fn edges(role: &Role, environment: &Environment) -> Vec<Edge> {
    // Writers generate a data key. SQS and SNS also decrypt it, to verify it (SQS and SNS Developer
    // Guides, "Key management").
    const READ: &[&str] = &["kms:Decrypt"];
    const WRITE: &[&str] = &["kms:Decrypt", "kms:GenerateDataKey"];
    // DynamoDB uses a table's key on behalf of the caller (DynamoDB Developer Guide, "Authorizing
    // use of your KMS keys"). These are the actions that CDK grants, without its wildcards.
    const TABLE_READ: &[&str] = &["kms:Decrypt", "kms:DescribeKey"];
    const TABLE_WRITE: &[&str] = &[
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
    ];
    let key_use = |key, service, actions| {
        Some(KeyUse {
            key,
            service,
            actions,
        })
    };
    let messages = |service, actions| key_use(Shared::MessagesKey, service, actions);
    let stock = |actions| key_use(Shared::StockKey, "dynamodb", actions);
    let mut edges = Vec::new();
    let mut add = |because: String, actions: &[&'static str], resources: Vec<Value>, key| {
        edges.push(Edge {
            actor: Actor::Process,
            statement: Statement::new(because, actions, resources),
            condition: None,
            key,
        });
    };
    let arn = |address| json!({ "Fn::ImportValue": export_of_arn(environment, address) });
    for queue in role.consumes {
        let receive = [
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:ChangeMessageVisibility",
        ];
        let (work, parking) = (
            arn(Address::Queue(queue)),
            arn(Address::ParkingQueue(queue)),
        );
        let because = format!("consumes {}", queue.slug);
        add(because, &receive, vec![work], messages("sqs", READ));
        let (because, send) = (format!("parks from {}", queue.slug), ["sqs:SendMessage"]);
        add(because, &send, vec![parking], messages("sqs", WRITE));
    }
    for queue in role.sends {
        let (because, send) = (format!("sends to {}", queue.slug), ["sqs:SendMessage"]);
        let queue = arn(Address::Queue(queue));
        add(because, &send, vec![queue], messages("sqs", WRITE));
    }
    for topic in role.publishes {
        let (because, send) = (format!("publishes to {}", topic.slug), ["sns:Publish"]);
        let topic = arn(Address::Topic(topic));
        add(because, &send, vec![topic], messages("sns", WRITE));
    }
    for bus in role.puts_events {
        // EventBridge uses the bus's key itself, allowed by the key policy (EventBridge User Guide,
        // "Authorizing EventBridge to use a customer managed key").
        let (because, put) = (format!("puts events on {}", bus.slug), ["events:PutEvents"]);
        add(because, &put, vec![arn(Address::Bus(bus))], None);
    }
    for (table, access) in role.tables {
        let mut actions = vec!["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"];
        let (verb, key) = match access {
            Access::Read => ("reads", stock(TABLE_READ)),
            Access::Write => {
                actions.extend(["dynamodb:PutItem", "dynamodb:UpdateItem"]);
                ("writes", stock(TABLE_WRITE))
            }
        };
        let arn = arn(Address::Table(table));
        let indexes = table
            .indexes
            .iter()
            .map(|index| json!({ "Fn::Join": ["", [arn, format!("/index/{}", index.name)]] }));
        let resources = std::iter::once(arn.clone()).chain(indexes).collect();
        add(format!("{verb} {}", table.slug), &actions, resources, key);
    }
    for table in role.streams {
        let actions = [
            "dynamodb:DescribeStream",
            "dynamodb:GetShardIterator",
            "dynamodb:GetRecords",
        ];
        let because = format!("reads the stream of {}", table.slug);
        let stream = arn(Address::Stream(table));
        add(because, &actions, vec![stream], stock(TABLE_READ));
    }
    // Parameters, mail and texts use no key of ours.
    if !role.parameters.is_empty() {
        // `GetParametersByPath` is authorized by the ARN of the path, not by those of the
        // parameters below it (Systems Manager User Guide, "How Parameter Store authorizes
        // parameter retrieval").
        let root = parameter_root(&environment.name);
        let path = format!(
            "arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter{root}"
        );
        let below = role
            .parameters
            .iter()
            .map(|parameter| sub(&parameter_arn(environment, parameter.key)));
        let resources = std::iter::once(sub(&path)).chain(below).collect();
        let because = "reads its parameters".to_owned();
        add(because, &["ssm:GetParametersByPath"], resources, None);
    }
    if role.mail {
        let identity = format!(
            "arn:${{AWS::Partition}}:ses:${{AWS::Region}}:${{AWS::AccountId}}:identity/{MAIL_DOMAIN}"
        );
        let because = "sends e-mail".to_owned();
        add(because, &["ses:SendEmail"], vec![sub(&identity)], None);
    }
    if role.text_messages {
        let because = "sends text messages".to_owned();
        add(because, &["sns:Publish"], vec![json!("*")], None);
        if let Some(texts) = edges.last_mut() {
            texts.condition = Some(from_here());
        }
    }
    let mut read_secret = |actor: Actor, because: &str, secret: Value| {
        let get = ["secretsmanager:GetSecretValue"];
        edges.push(Edge {
            actor,
            statement: Statement::new(because, &get, vec![secret]),
            condition: None,
            key: key_use(Shared::SecretsKey, "secretsmanager", READ),
        });
    };
    // Each value is given to the process at its start. The process reads it again after a rotation
    // (ADR 0013). Security groups control who reaches the database's address.
    let own = |secret: &Secret| sub(&secret_arn(environment, secret.slug));
    for secret in role.secrets {
        let because = format!("is given the secret {}", secret.slug);
        read_secret(Actor::Starter, &because, own(secret));
    }
    for (used, shared, what) in [
        (role.database, Shared::DatabaseSecret, "database login"),
        (role.cache, Shared::CacheSecret, "cache token"),
    ] {
        if used {
            let secret = shared.import(environment);
            read_secret(
                Actor::Starter,
                &format!("is given the {what}"),
                secret.clone(),
            );
            read_secret(Actor::Process, &format!("reads the {what} again"), secret);
        }
    }
    for secret in role.secrets {
        let because = format!("reads the secret {} again", secret.slug);
        read_secret(Actor::Process, &because, own(secret));
    }
    edges
}

/// Denies publishing to topics. Topics are the only SNS resources in IAM (Service Authorization
/// Reference, "Amazon SNS"), so a right to text phones must allow every resource. With topics
/// denied, only phones remain.
fn no_topic() -> Value {
    json!({
        "Sid": NO_TOPIC,
        "Effect": "Deny",
        "Action": ["sns:Publish"],
        "Resource": [sub("arn:${AWS::Partition}:sns:*:*:*")],
    })
}

const NO_TOPIC: &str = "PublishesToNoTopic";

/// Restricts text messages to the shop's own region, because their cost limit is set per region.
pub fn from_here() -> Value {
    json!({ "StringEquals": { "aws:RequestedRegion": { "Ref": "AWS::Region" } } })
}

/// Returns one statement per key, for all rights whose resources the key encrypts. The Sid names
/// the key.
fn key_statements(edges: &[Edge], environment: &Environment) -> Vec<Value> {
    let mut statements = Vec::new();
    for key in [Shared::MessagesKey, Shared::StockKey, Shared::SecretsKey] {
        let uses: Vec<KeyUse> = edges
            .iter()
            .filter_map(|edge| edge.key)
            .filter(|used| used.key == key)
            .collect();
        let Some(first) = uses.first() else { continue };
        let mut actions: Vec<&'static str> = Vec::new();
        let mut services: Vec<Value> = Vec::new();
        for used in &uses {
            actions.extend(used.actions);
            let service = sub(&format!("{}.${{AWS::Region}}.amazonaws.com", used.service));
            if !services.contains(&service) {
                services.push(service);
            }
        }
        actions.sort_unstable();
        actions.dedup();
        let key = vec![key.import(environment)];
        let mut json = named(&Statement::new(opens(first.key), &actions, key));
        json["Condition"] = json!({ "StringEquals": { "kms:ViaService": services } });
        statements.push(json);
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prod() -> Environment {
        Environment::named("prod").expect("known")
    }

    fn policy(role: &Role, actor: Actor) -> Value {
        document(statements_of(role, &prod(), actor, &[]))
    }

    /// Returns the reasons of a role's rights, derived from the contract independently of `edges`.
    fn expected(role: &Role) -> BTreeSet<String> {
        let mut expected = BTreeSet::new();
        expected.extend(
            role.consumes
                .iter()
                .map(|queue| format!("consumes {}", queue.slug)),
        );
        expected.extend(
            role.consumes
                .iter()
                .map(|queue| format!("parks from {}", queue.slug)),
        );
        expected.extend(
            role.sends
                .iter()
                .map(|queue| format!("sends to {}", queue.slug)),
        );
        expected.extend(
            role.publishes
                .iter()
                .map(|topic| format!("publishes to {}", topic.slug)),
        );
        expected.extend(
            role.puts_events
                .iter()
                .map(|bus| format!("puts events on {}", bus.slug)),
        );
        expected.extend(role.tables.iter().map(|(table, access)| match access {
            Access::Read => format!("reads {}", table.slug),
            Access::Write => format!("writes {}", table.slug),
        }));
        expected.extend(
            role.streams
                .iter()
                .map(|table| format!("reads the stream of {}", table.slug)),
        );
        expected.extend(
            role.secrets
                .iter()
                .map(|secret| format!("is given the secret {}", secret.slug)),
        );
        expected.extend(
            role.secrets
                .iter()
                .map(|secret| format!("reads the secret {} again", secret.slug)),
        );
        let flags = [
            (!role.parameters.is_empty(), "reads its parameters"),
            (role.mail, "sends e-mail"),
            (role.text_messages, "sends text messages"),
            (role.database, "is given the database login"),
            (role.database, "reads the database login again"),
            (role.cache, "is given the cache token"),
            (role.cache, "reads the cache token again"),
        ];
        expected.extend(
            flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, because)| (*because).to_owned()),
        );
        expected
    }

    #[test]
    fn every_edge_has_one_statement_and_every_statement_one_edge() {
        for role in ROLES {
            let statements = statements(role, &prod());
            let reasons: BTreeSet<String> = statements
                .iter()
                .map(|statement| statement.because.clone())
                .collect();
            assert_eq!(reasons, expected(role), "{}", role.slug);
            assert_eq!(
                reasons.len(),
                statements.len(),
                "{}: two statements for one edge",
                role.slug
            );
        }
    }

    #[test]
    fn both_policies_together_hold_every_statement_once_under_a_sid_of_its_own() {
        for role in ROLES {
            let (process, starter) = (policy(role, Actor::Process), policy(role, Actor::Starter));
            let mut sids = Vec::new();
            for document in [process, starter] {
                let before = sids.len();
                for statement in document["Statement"].as_array().expect("a list") {
                    let sid = statement["Sid"].as_str().expect("a Sid").to_owned();
                    assert!(
                        sid.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                        "{sid}"
                    );
                    sids.push(sid);
                }
                let unique: BTreeSet<&String> = sids[before..].iter().collect();
                assert_eq!(unique.len(), sids.len() - before, "{}: {sids:?}", role.slug);
            }
            let own: BTreeSet<String> = statements(role, &prod())
                .iter()
                .filter_map(|statement| named(statement)["Sid"].as_str().map(str::to_owned))
                .collect();
            let keys: Vec<&String> = sids.iter().filter(|sid| !own.contains(*sid)).collect();
            assert_eq!(sids.len() - keys.len(), own.len(), "{}", role.slug);
            let of_texts = role.text_messages.then_some(NO_TOPIC);
            assert!(
                keys.iter()
                    .all(|sid| sid.contains("Key") || of_texts == Some(sid.as_str())),
                "{keys:?}"
            );
        }
    }

    #[test]
    fn roles_that_send_text_messages_cannot_publish_to_topics() {
        for role in ROLES {
            let document = policy(role, Actor::Process);
            let statements = document["Statement"].as_array().expect("a list");
            let anywhere = statements
                .iter()
                .find(|it| it["Effect"] == "Allow" && it["Resource"] == json!(["*"]));
            let denied = statements.iter().find(|it| it["Effect"] == "Deny");
            assert_eq!(
                (anywhere.is_some(), denied.is_some()),
                (role.text_messages, role.text_messages),
                "{}",
                role.slug
            );
            if let (Some(anywhere), Some(denied)) = (anywhere, denied) {
                assert_eq!(anywhere["Action"], json!(["sns:Publish"]));
                assert_eq!(anywhere["Condition"], from_here());
                assert_eq!(denied["Action"], anywhere["Action"]);
                assert!(
                    denied["Resource"].to_string().contains(":sns:*:*:*"),
                    "{denied}"
                );
            }
        }
    }

    #[test]
    fn a_role_may_use_the_keys_of_its_resources_only_through_their_services() {
        for role in ROLES {
            let text = policy(role, Actor::Process).to_string();
            let messages =
                !role.consumes.is_empty() || !role.sends.is_empty() || !role.publishes.is_empty();
            let stock = !role.tables.is_empty() || !role.streams.is_empty();
            assert_eq!(text.contains("messages-key"), messages, "{}", role.slug);
            assert_eq!(text.contains("stock-key"), stock, "{}", role.slug);
            // The process may read again the secrets that it received at the start (ADR 0013).
            let secrets = role.database || role.cache || !role.secrets.is_empty();
            assert_eq!(text.contains("secrets-key"), secrets, "{}", role.slug);
            let keys = [messages, stock, secrets]
                .into_iter()
                .filter(|used| *used)
                .count();
            assert_eq!(
                text.matches("kms:ViaService").count(),
                keys,
                "{}",
                role.slug
            );
            let writes = messages
                || role
                    .tables
                    .iter()
                    .any(|(_, access)| *access == Access::Write);
            assert_eq!(
                text.contains("kms:GenerateDataKey"),
                writes,
                "{}",
                role.slug
            );
        }
    }

    #[test]
    fn a_process_may_read_only_the_secrets_of_its_start() {
        for role in ROLES {
            let read = |actor: Actor| -> BTreeSet<String> {
                let document = policy(role, actor);
                let statements = document["Statement"].as_array().expect("a list").iter();
                let reading = statements
                    .filter(|statement| statement["Action"].to_string().contains("GetSecretValue"));
                reading
                    .map(|statement| statement["Resource"].to_string())
                    .collect()
            };
            assert!(
                read(Actor::Process).is_subset(&read(Actor::Starter)),
                "{}",
                role.slug
            );
        }
    }

    /// Reading by path is authorized by the ARN of the path.
    #[test]
    fn roles_with_parameters_may_read_their_path() {
        for role in ROLES.iter().filter(|role| !role.parameters.is_empty()) {
            let document = policy(role, Actor::Process).to_string();
            assert!(
                document.contains(":parameter/brewhaven/prod\""),
                "{}: {document}",
                role.slug
            );
        }
    }
}
