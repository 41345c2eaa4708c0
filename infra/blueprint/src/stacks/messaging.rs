//! Queues, topics, the event bus with its rules, and the stream of order events.

use std::collections::HashMap;

use contract::address::Address;
use contract::queue::{PARKING_RETENTION, QUEUES, Queue, RETENTION};
use contract::topic::{
    BUS, ORDER_EVENTS, ORDER_EVENTS_KEY, RULES, SUBSCRIPTIONS, SYSTEM_ALERTS, TOPICS, Target,
};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind;
use crate::names::{
    MAIL_DOMAIN, Shared, export_address, export_arn, export_of_arn, export_of_name,
};
use crate::roles::document;
use crate::stacks::roles::{encrypted_transport_only, own_account, role_with_rights, trust};
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

/// Returns the stack with all messaging resources.
pub fn messaging(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: queues, topics and the event bus");
    // The sender domain of mails. On AWS its DKIM records must be published in DNS.
    template.add(
        "mail identity",
        kind::SES_EMAIL_IDENTITY,
        json!({ "EmailIdentity": MAIL_DOMAIN, "DkimAttributes": { "SigningEnabled": true } }),
    );
    // The work queue and the dead-letter queue, by the slug of the queue.
    let mut queues: HashMap<&str, (LogicalId, LogicalId)> = HashMap::new();
    for queue in QUEUES {
        let parking = add_queue(&mut template, queue, None);
        let work = add_queue(&mut template, queue, Some(&parking));
        for (address, id) in [
            (Address::ParkingQueue(queue), &parking),
            (Address::Queue(queue), &work),
        ] {
            let words = format!("{} name", address.parameter());
            let name = export_of_name(environment, address);
            export_address(&mut template, address, reference(id));
            export_arn(&mut template, address, get_att(id, "Arn"));
            template.export(&words, &name, get_att(id, "QueueName"));
        }
        queues.insert(queue.slug, (work, parking));
    }
    // Receives messages that a topic or a rule could not deliver.
    let undelivered = template.add_kept(
        "undelivered",
        kind::SQS_QUEUE,
        encrypted(
            environment,
            json!({ "MessageRetentionPeriod": PARKING_RETENTION.as_secs() }),
        ),
        kept(environment),
    );
    let name = get_att(&undelivered, "QueueName");
    Shared::UndeliveredName.export(&mut template, name);

    let mut topics: HashMap<&str, LogicalId> = HashMap::new();
    for topic in TOPICS {
        let words = format!("{} topic", topic.slug);
        let properties = json!({
            "DisplayName": topic.about,
            "KmsMasterKeyId": Shared::MessagesKey.import(environment),
        });
        let id = template.add(&words, kind::SNS_TOPIC, properties);
        export_address(&mut template, Address::Topic(topic), reference(&id));
        topics.insert(topic.slug, id);
    }
    let bus = event_bus(&mut template);
    let address = Address::Bus(&BUS);
    export_address(&mut template, address, reference(&bus));
    let arn = export_of_arn(environment, address);
    template.export("bus arn", &arn, get_att(&bus, "Arn"));

    let mut rules = Vec::new();
    for rule in RULES {
        let mut pattern = json!({ "detail-type": [rule.kind.name()] });
        if !rule.to.is_empty() {
            pattern["detail"] = json!({ "data": { "to": rule.to } });
        }
        let mut target = json!({ "Id": rule.target.slug(), "DeadLetterConfig": { "Arn": get_att(&undelivered, "Arn") } });
        match rule.target {
            Target::Topic(topic) => target["Arn"] = reference(&topics[topic.slug]),
            Target::Queue(queue) => {
                target["Arn"] = get_att(&queues[queue.slug].0, "Arn");
                // The message as it was sent, without the envelope of the bus.
                target["InputPath"] = json!("$.detail");
            }
        }
        let words = format!("{} rule", rule.slug);
        let properties = json!({
            "Description": rule.about,
            "EventBusName": reference(&bus),
            "EventPattern": pattern,
            "State": "ENABLED",
            "Targets": [target],
        });
        let id = template.add(&words, kind::EVENTS_RULE, properties);
        rules.push((rule, id));
    }
    let arns_of = |target: &dyn Fn(Target) -> bool| -> Vec<Value> {
        rules
            .iter()
            .filter(|(rule, _)| target(rule.target))
            .map(|(_, rule)| get_att(rule, "Arn"))
            .collect()
    };
    for topic in TOPICS {
        let from_rules = arns_of(&|target| target == Target::Topic(topic));
        let alarms = topic.slug == SYSTEM_ALERTS.slug;
        let policy = topic_policy(environment, &topics[topic.slug], from_rules, alarms);
        let words = format!("{} topic policy", topic.slug);
        template.add(&words, kind::SNS_TOPIC_POLICY, policy);
    }
    let mut from_all_rules = arns_of(&|_| true);
    // `haven up` has no reader of the stream, and lacks the keys and the boundary that the stream
    // needs.
    if !environment.local {
        let rule = order_events(&mut template, &bus, &undelivered);
        from_all_rules.push(get_att(&rule, "Arn"));
    }
    let topics_of = |queue: Option<&Queue>| -> Vec<Value> {
        SUBSCRIPTIONS
            .iter()
            .filter(|heard| queue.is_none_or(|queue| heard.queue == queue))
            .map(|heard| reference(&topics[heard.topic.slug]))
            .collect()
    };
    let mut policy = |name: &str, id: &LogicalId, topics: Vec<Value>, rules: Vec<Value>| {
        if let Some(properties) = queue_policy(environment, id, topics, rules) {
            template.add(name, kind::SQS_QUEUE_POLICY, properties);
        }
    };
    for queue in QUEUES {
        let (work, parking) = &queues[queue.slug];
        let from_rules = arns_of(&|target| target == Target::Queue(queue));
        let words = format!("{} queue policy", queue.slug);
        policy(&words, work, topics_of(Some(queue)), from_rules);
        let words = format!("{} parking queue policy", queue.slug);
        policy(&words, parking, Vec::new(), Vec::new());
    }
    // Topics and rules send undeliverable messages to this queue in their own name.
    policy(
        "undelivered policy",
        &undelivered,
        topics_of(None),
        from_all_rules,
    );
    for subscription in SUBSCRIPTIONS {
        let mut properties = json!({
            "Protocol": "sqs",
            "TopicArn": reference(&topics[subscription.topic.slug]),
            "Endpoint": get_att(&queues[subscription.queue.slug].0, "Arn"),
            "RawMessageDelivery": true,
            "RedrivePolicy": { "deadLetterTargetArn": get_att(&undelivered, "Arn") },
        });
        if let Some(filter) = &subscription.filter {
            properties["FilterPolicy"] = json!({ filter.attribute: filter.values });
            properties["FilterPolicyScope"] = json!("MessageAttributes");
        }
        let words = format!("{} to {}", subscription.topic.slug, subscription.queue.slug);
        template.add(&words, kind::SNS_SUBSCRIPTION, properties);
    }
    template
}

/// Returns what happens to removed queues: production retains them, other environments delete them.
fn kept(environment: &Environment) -> Keep {
    if environment.is_production() {
        Keep::Data
    } else {
        Keep::Gone
    }
}

/// Adds the messages key to the properties of a queue.
fn encrypted(environment: &Environment, mut queue: Value) -> Value {
    queue["KmsMasterKeyId"] = Shared::MessagesKey.import(environment);
    queue
}

/// Days in which events can be replayed.
const ARCHIVE_DAYS: u16 = 30;

fn event_bus(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let properties = json!({
        "Name": environment.stack_name(BUS.slug),
        "KmsKeyIdentifier": Shared::MessagesKey.import(environment),
    });
    let bus = template.add("event bus", kind::EVENTS_BUS, properties);
    let properties = json!({
        "Description": "Every event, for a replay after a fault",
        "SourceArn": get_att(&bus, "Arn"),
        "RetentionDays": ARCHIVE_DAYS,
        "KmsKeyIdentifier": Shared::MessagesKey.import(environment),
    });
    template.add("event archive", kind::EVENTS_ARCHIVE, properties);
    bus
}

/// Adds the stream of order events, and the rule that fills it.
fn order_events(
    template: &mut Template<'_>,
    bus: &LogicalId,
    undelivered: &LogicalId,
) -> LogicalId {
    let environment = template.environment;
    let mut properties = json!({
        "RetentionPeriodHours": ORDER_EVENTS.retention.as_secs() / 3600,
        "StreamEncryption": { "EncryptionType": "KMS", "KeyId": Shared::StockKey.import(environment) },
    });
    if environment.is_production() {
        properties["StreamModeDetails"] = json!({ "StreamMode": "ON_DEMAND" });
    } else {
        // One shard takes a thousand events per second, for a third of the price.
        properties["StreamModeDetails"] = json!({ "StreamMode": "PROVISIONED" });
        properties["ShardCount"] = json!(1);
    }
    let words = |what: &str| format!("{} {what}", ORDER_EVENTS.slug);
    let (name, keep) = (words("stream"), kept(environment));
    let stream = template.add_kept(&name, kind::KINESIS_STREAM, properties, keep);
    if !environment.is_production() {
        let why = "Only test events are lost, and a retained stream is charged per hour";
        template.waive(&stream, &["KEEP-1", "KEEP-2"], why);
    }
    let rights = json!([
        {
            "Effect": "Allow", "Action": ["kinesis:PutRecord", "kinesis:PutRecords"], "Resource": get_att(&stream, "Arn"),
        },
        {
            "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": Shared::StockKey.import(environment),
            "Condition": { "StringEquals": { "kms:ViaService": sub("kinesis.${AWS::Region}.amazonaws.com") } },
        },
    ]);
    let trust = trust("events.amazonaws.com");
    let (role, policy) = role_with_rights(template, ORDER_EVENTS.slug, trust, rights);
    let mut pattern = json!({ "detail": {} });
    pattern["detail"][ORDER_EVENTS_KEY] = json!([{ "exists": true }]);
    let properties = json!({
        "Description": ORDER_EVENTS.about,
        "EventBusName": reference(bus),
        "EventPattern": pattern,
        "State": "ENABLED",
        "Targets": [{
            "Id": ORDER_EVENTS.slug,
            "Arn": get_att(&stream, "Arn"),
            "RoleArn": get_att(&role, "Arn"),
            "KinesisParameters": { "PartitionKeyPath": format!("$.detail.{ORDER_EVENTS_KEY}") },
            "DeadLetterConfig": { "Arn": get_att(undelivered, "Arn") },
        }],
    });
    let rule = template.add(&words("rule"), kind::EVENTS_RULE, properties);
    // Events before the role may write would all go to the dead-letter queue.
    template.after(&rule, &[&policy]);
    rule
}

/// Adds a work queue, or without `parking` a dead-letter queue.
fn add_queue(template: &mut Template<'_>, queue: &Queue, parking: Option<&LogicalId>) -> LogicalId {
    let environment = template.environment;
    let retention = if parking.is_some() {
        RETENTION
    } else {
        PARKING_RETENTION
    };
    let mut properties = encrypted(
        environment,
        json!({
            "MessageRetentionPeriod": retention.as_secs(),
            "VisibilityTimeout": queue.visibility_timeout.as_secs(),
        }),
    );
    if queue.fifo {
        properties["FifoQueue"] = json!(true);
        // Deduplication and throughput apply per message group. The quota of 300 calls per second
        // is then per order instead of per queue.
        properties["DeduplicationScope"] = json!("messageGroup");
        properties["FifoThroughputLimit"] = json!("perMessageGroupId");
    }
    if let Some(parking) = parking {
        properties["RedrivePolicy"] = json!({ "deadLetterTargetArn": get_att(parking, "Arn"), "maxReceiveCount": queue.deliveries_max });
    }
    let words = if parking.is_some() {
        format!("{} queue", queue.slug)
    } else {
        format!("{} queue", queue.parking_slug())
    };
    template.add_kept(&words, kind::SQS_QUEUE, properties, kept(environment))
}

/// Returns the policy that lets AWS services send to a queue; `None` if none do. The policies of
/// roles allow roles to send.
fn queue_policy(
    environment: &Environment,
    queue: &LogicalId,
    topics: Vec<Value>,
    rules: Vec<Value>,
) -> Option<Value> {
    let mut statements = Vec::new();
    for (sid, service, sources) in [
        ("FanOut", "sns.amazonaws.com", topics),
        ("Rules", "events.amazonaws.com", rules),
    ] {
        if !sources.is_empty() {
            statements.push(json!({
                "Sid": sid, "Effect": "Allow", "Principal": { "Service": service }, "Action": "sqs:SendMessage",
                "Resource": get_att(queue, "Arn"), "Condition": { "ArnEquals": { "aws:SourceArn": sources } },
            }));
        }
    }
    if !environment.local {
        let all = get_att(queue, "Arn");
        statements.push(encrypted_transport_only("sqs:SendMessage", all));
    }
    (!statements.is_empty())
        .then(|| json!({ "Queues": [reference(queue)], "PolicyDocument": document(statements) }))
}

fn topic_policy(
    environment: &Environment,
    topic: &LogicalId,
    rules: Vec<Value>,
    alarms: bool,
) -> Value {
    let mut statements = vec![json!({
        "Sid": "OwnAccount", "Effect": "Allow",
        "Principal": { "AWS": { "Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root" } },
        "Action": ["sns:Publish", "sns:Subscribe"], "Resource": reference(topic),
    })];
    if !rules.is_empty() {
        statements.push(json!({
            "Sid": "Rules", "Effect": "Allow", "Principal": { "Service": "events.amazonaws.com" }, "Action": "sns:Publish",
            "Resource": reference(topic), "Condition": { "ArnEquals": { "aws:SourceArn": rules } },
        }));
    }
    if alarms {
        statements.push(json!({
            "Sid": "Alarms", "Effect": "Allow", "Principal": { "Service": "cloudwatch.amazonaws.com" },
            "Action": "sns:Publish", "Resource": reference(topic), "Condition": own_account(),
        }));
    }
    if !environment.local {
        statements.push(encrypted_transport_only("sns:Publish", reference(topic)));
    }
    json!({ "Topics": [reference(topic)], "PolicyDocument": document(statements) })
}
