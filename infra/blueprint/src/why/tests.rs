use super::*;

fn environment(name: &str) -> Environment {
    Environment::named(name).expect("known")
}

fn resource(name: &str) -> Resource {
    let mut answer = why(&environment("prod"), name).expect("there is such a thing");
    assert_eq!(answer.resources.len(), 1, "{name}");
    answer.resources.remove(0)
}

/// The contract requires each statement of the policies that a role's tasks and service use.
#[test]
fn every_statement_of_a_role_policy_has_its_right() {
    for name in ["dev", "staging", "prod"] {
        let environment = environment(name);
        let stacks = stacks(&environment);
        let explainer = Explainer::new(&environment, &stacks);
        let items = items(&environment, &explainer.graph);
        let mut of_roles: BTreeSet<String> = BTreeSet::new();
        // The permissions boundary grants nothing; it limits what others grant.
        let grants = |statement: &Statement| {
            !statement.roles.is_empty() && statement.of != "security/RoleBoundary"
        };
        for statement in explainer.statements(&items).into_iter().filter(grants) {
            let Statement { sid, of, .. } = &statement;
            let answer = why(&environment, sid).unwrap_or_else(|miss| panic!("{of}: {miss}"));
            let told = answer
                .statements
                .iter()
                .find(|told| told.of == *of)
                .expect("it is told of");
            assert!(
                told.edge.as_deref().is_some_and(|edge| !edge.is_empty()),
                "{of} {sid} has no edge"
            );
            of_roles.extend(statement.roles);
        }
        let all: BTreeSet<String> = contract::role::ROLES
            .iter()
            .map(|role| role.slug.to_owned())
            .collect();
        assert_eq!(of_roles, all, "each role has a policy");
    }
}

#[test]
fn why_explains_a_sid() {
    let answer = why(&environment("prod"), "ConsumesOrders").expect("known");
    let [statement] = &answer.statements[..] else {
        panic!("{:?}", answer.statements)
    };
    assert_eq!(statement.edge.as_deref(), Some("consumes orders"));
    assert_eq!(statement.roles, ["order-worker"]);
    assert_eq!(statement.resources, ["messaging/OrdersQueue"]);
    let key = why(&environment("prod"), "OpensTheStockKey").expect("known");
    assert!(key.statements.len() > 2);
    assert!(key.statements.iter().all(|one| {
        one.edge
            .as_deref()
            .is_some_and(|edge| edge.contains("writes products"))
    }));
}

#[test]
fn why_explains_item_users_alarms_and_changes_of_a_queue() {
    let queue = resource("messaging/OrdersQueue");
    assert_eq!(
        (queue.kind.as_str(), queue.stateful),
        ("AWS::SQS::Queue", true)
    );
    assert!(
        queue.contract[0].starts_with("queue orders: Saga commands"),
        "{:?}",
        queue.contract
    );
    assert!(
        queue
            .referenced_by
            .iter()
            .any(|by| by.from == "messaging/OrdersQueuePolicy"),
        "{:?}",
        queue.referenced_by
    );
    let importers: Vec<&str> = queue
        .exports
        .iter()
        .flat_map(|export| &export.imported_by)
        .map(|by| by.from.as_str())
        .collect();
    for importer in [
        "roles/OrderWorkerTaskPolicy",
        "alarms/OrdersAgeAlarm",
        "parameters/QueueOrdersUrlAddress",
    ] {
        assert!(importers.contains(&importer), "{importer}: {importers:?}");
    }
    let may: BTreeSet<(&str, &str)> = queue
        .may
        .iter()
        .filter_map(|may| Some((may.roles.first()?.as_str(), may.edge.as_deref()?)))
        .collect();
    assert_eq!(
        may,
        BTreeSet::from([
            ("order-worker", "consumes orders"),
            ("outbox-relay", "sends to orders")
        ])
    );
    assert!(
        queue
            .alarms
            .iter()
            .any(|alarm| (alarm.slug, alarm.runbook) == ("orders-age", "queue-age"))
    );
    let rung = |path: &str| {
        queue
            .properties
            .iter()
            .find(|property| property.path == path)
            .expect(path)
            .rung
    };
    assert_eq!(rung("VisibilityTimeout"), Rung::InPlace);
    assert!(rung("FifoQueue") >= Rung::Replacement);
}

#[test]
fn an_item_is_found_by_each_of_its_names() {
    for name in ["orders", "queue/orders/url", "HAVEN_QUEUE_ORDERS_URL"] {
        let answer = why(&environment("prod"), name).expect(name);
        assert_eq!(answer.resources[0].name, "messaging/OrdersQueue", "{name}");
        assert!(
            answer.items[0]
                .facts
                .contains(&"consumed by order-worker".to_owned()),
            "{:?}",
            answer.items
        );
    }
    let stream = why(&environment("prod"), "order-events").expect("a stream");
    assert_eq!(stream.resources[0].name, "messaging/OrderEventsStream");
    assert!(
        stream.resources[0]
            .referenced_by
            .iter()
            .any(|by| by.from == "messaging/OrderEventsRule")
    );
    let role = why(&environment("prod"), "order-worker").expect("a role");
    assert!(
        role.also.contains(&"compute/OrderWorkerService".to_owned()),
        "{:?}",
        role.also
    );
    let sids: Vec<&str> = role
        .statements
        .iter()
        .map(|statement| statement.sid.as_str())
        .collect();
    for sid in [
        "ConsumesOrders",
        "WritesReservations",
        "IsGivenTheDatabaseLogin",
        "StartsFromTheImage",
    ] {
        assert!(sids.contains(&sid), "{sid}: {sids:?}");
    }
    let setting = why(&environment("prod"), "order/max_queue_size").expect("a parameter");
    assert!(
        setting.resources[0]
            .may
            .iter()
            .any(|may| may.roles == ["storefront"]),
        "{:?}",
        setting.resources[0].may
    );
}

/// On AWS every item of the contract has a resource.
#[test]
fn every_item_has_a_resource_and_every_resource_an_explanation() {
    let environment = environment("prod");
    let stacks = stacks(&environment);
    let explainer = Explainer::new(&environment, &stacks);
    let items = items(&environment, &explainer.graph);
    let bare: Vec<_> = items
        .iter()
        .filter(|(_, places)| places.is_empty())
        .map(|(item, _)| &item.slug)
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
    for it in explainer.graph.resources() {
        let told = explainer.explain(it.place, &items);
        assert!(
            !told.kind.is_empty() && !told.about.is_empty(),
            "{}",
            told.name
        );
    }
}

#[test]
fn why_explains_retention_and_replacement_of_the_database() {
    let database = resource("data/Database");
    assert!(database.stateful);
    assert_ne!(database.deletion_policy, "Delete");
    let encrypted = database
        .properties
        .iter()
        .find(|property| property.path == "StorageEncrypted")
        .expect("it is");
    assert!(
        encrypted.rung >= Rung::Replacement && encrypted.consequence.contains("EMPTY"),
        "{encrypted:?}"
    );
    assert!(
        resource("data/LogsBucket")
            .waivers
            .iter()
            .any(|waiver| waiver.rule == "S3-2")
    );
}

#[test]
fn an_unknown_name_gets_a_suggestion_or_a_reason() {
    let hint = |name: &str, of: &str| why(&environment(of), name).expect_err("none").hint;
    assert_eq!(
        hint("OrderQueue", "prod").as_deref(),
        Some("did you mean OrdersQueue?")
    );
    assert_eq!(
        hint("messaging/OrdrsQueue", "prod").as_deref(),
        Some("did you mean messaging/OrdersQueue?")
    );
    assert_eq!(
        hint("ordrs", "prod").as_deref(),
        Some("did you mean orders?")
    );
    assert_eq!(hint("something-else-entirely", "prod"), None);
    assert!(hint("Nat1", "local").is_some_and(|hint| hint.contains("no packet flows")));
}
