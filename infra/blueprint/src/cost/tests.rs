use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::configuration::{Configuration, Override, embedded};
use crate::stacks;

fn environment(name: &str, set: &[&str]) -> Environment {
    let overrides: Vec<Override> = set
        .iter()
        .filter_map(|text| Override::from_argument(text))
        .collect();
    let files = embedded(name).expect("known");
    running(&Environment::configured(
        &Configuration::load(name, &files, &overrides).expect("sound"),
    ))
}

fn cost(name: &str, set: &[&str]) -> Estimate {
    let environment = environment(name, set);
    estimate(
        &stacks(&environment),
        &environment,
        &environment.settings.usage,
    )
    .expect("prices")
}

/// Returns the changed items with their additional cost.
fn changed(before: &Estimate, after: &Estimate) -> Vec<(String, MicroUsd)> {
    delta(before, after)
        .changes
        .iter()
        .map(|change| (change.what.clone(), change.more()))
        .collect()
}

fn usd(usd: f64) -> MicroUsd {
    MicroUsd::from_usd(usd)
}

#[test]
fn every_resource_type_has_a_price_or_is_known_to_be_free() {
    for name in ["dev", "staging", "prod"] {
        for set in [
            &[][..],
            &[
                "database.engine=aurora",
                "database.instance_class=db.r7g.large",
            ],
        ] {
            let estimate = cost(name, set);
            assert_eq!(
                estimate.unpriced,
                [],
                "{name} {set:?}: add it to prices/us-east-1.toml or cost/fixed.rs"
            );
        }
    }
}

#[test]
fn the_price_table_is_sound() {
    for region in REGIONS {
        let prices = Prices::of(region).expect("a table");
        assert_eq!(prices.region, *region);
        assert!(prices.date.len() == 10, "{}", prices.date);
        for (name, price) in &prices.price {
            assert!(
                prices.source.contains_key(&price.source),
                "{name} is from nowhere"
            );
            assert_eq!(
                price.usd.is_some(),
                price.by.is_empty(),
                "{name} has one price, or one for each variant"
            );
            assert!(
                price
                    .usd
                    .iter()
                    .chain(price.by.values())
                    .all(|usd| *usd > 0.0),
                "{name} costs nothing"
            );
        }
        let code = [include_str!("fixed.rs"), include_str!("usage.rs")].concat();
        let unused = prices
            .price
            .keys()
            .find(|name| !code.contains(&format!("\"{name}\"")));
        assert_eq!(unused, None, "a price that nothing asks for");
        let used = |source: &String| prices.price.values().any(|price| price.source == *source);
        assert!(
            prices.source.keys().all(used),
            "a source that no price is from"
        );
        assert!(
            fixed::BY_USE
                .iter()
                .all(|kind| !prices.free.contains_key(kind.as_str())),
            "free and charged by use"
        );
    }
}

#[test]
fn environments_closer_to_production_cost_more() {
    let [dev, staging, prod] = ["dev", "staging", "prod"].map(|name| cost(name, &[]).fixed);
    assert!(
        usd(100.0) < dev && dev < staging && staging < prod && prod < usd(5000.0),
        "{dev} {staging} {prod}"
    );
}

#[test]
fn twice_the_gateways_cost_twice_as_much_and_nothing_else_changes() {
    let environment = environment("prod", &[]);
    let mut stacks = stacks(&environment);
    let cost = |stacks: &[Stack]| {
        estimate(stacks, &environment, &environment.settings.usage).expect("prices")
    };
    let before = cost(&stacks);
    for stack in &mut stacks {
        let resources = stack.template["Resources"]
            .as_object_mut()
            .expect("resources");
        let gateways = resources
            .iter()
            .filter(|(_, resource)| resource["Type"] == "AWS::EC2::NatGateway");
        let more: Vec<_> = gateways
            .map(|(id, gateway)| (format!("{id}Again"), gateway.clone()))
            .collect();
        resources.extend(more);
    }
    let one = usd(0.045 * HOURS_A_MONTH);
    assert_eq!(
        changed(&before, &cost(&stacks)),
        vec![("NAT gateway".to_owned(), one); 3]
    );
}

#[test]
fn a_gateway_in_every_zone_brings_its_address_and_the_endpoints_of_its_zone() {
    let (one, two) = (
        cost("staging", &["network.nat_gateways=1"]),
        cost("staging", &["network.nat_gateways=2"]),
    );
    let changed = changed(&one, &two);
    let kinds: BTreeSet<&str> = changed.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "Interface endpoint per zone",
            "NAT gateway",
            "Public IPv4 address"
        ]
        .into()
    );
}

#[test]
fn a_second_zone_of_the_database_doubles_instance_and_storage() {
    let (one, two) = (
        cost("dev", &["database.multi_az=false"]),
        cost("dev", &["database.multi_az=true"]),
    );
    let line = |estimate: &Estimate, price: &str| {
        estimate
            .lines
            .iter()
            .find(|line| line.price == price)
            .map(|line| line.month.0)
            .expect("a line")
    };
    for price in ["postgres_hour", "postgres_storage_gib_month"] {
        assert_eq!(2 * line(&one, price), line(&two, price), "{price}");
    }
}

#[test]
fn a_line_is_quantity_times_price_and_lines_add_up() {
    for name in ["dev", "staging", "prod"] {
        let estimate = cost(name, &[]);
        for line in &estimate.lines {
            assert_eq!(
                line.month,
                MicroUsd::from_usd(line.quantity * line.unit_usd),
                "{line:?}"
            );
        }
        assert_eq!(
            estimate.total,
            estimate.lines.iter().map(|line| line.month).sum()
        );
        assert_eq!(estimate.total, estimate.fixed + estimate.usage);
        let back: Estimate = serde_json::from_value(json!(estimate)).expect("reads what it wrote");
        assert_eq!(back.total, estimate.total);
    }
}

#[test]
fn orders_change_only_the_usage_part() {
    let (few, many) = (
        cost("prod", &["usage.orders_per_month=0"]),
        cost("prod", &["usage.orders_per_month=3_000_000"]),
    );
    assert_eq!(few.fixed, many.fixed);
    assert!(few.usage < many.usage);
    // An order costs well below a tenth of a cent in requests, so an error in a unit would show.
    assert!(
        many.usage - few.usage < usd(3_000_000.0 * 0.001),
        "{}",
        many.usage - few.usage
    );
}

#[test]
fn resources_without_a_price_are_listed() {
    let environment = environment("dev", &[]);
    let mut stacks = stacks(&environment);
    let template = &mut stacks[0].template["Resources"];
    template["Lake"] = json!({ "Type": "AWS::Redshift::Cluster", "Properties": {} });
    template["Huge"] = json!({ "Type": "AWS::RDS::DBInstance", "Properties": {
        "Engine": "postgres", "DBInstanceClass": "db.x2g.16xlarge", "StorageType": "gp3", "AllocatedStorage": "20",
    } });
    let estimate = estimate(&stacks, &environment, &environment.settings.usage).expect("prices");
    let unpriced: Vec<(&str, &str)> = estimate
        .unpriced
        .iter()
        .map(|unpriced| (unpriced.resource.as_str(), unpriced.why.as_str()))
        .collect();
    assert_eq!(
        unpriced,
        [
            ("Huge", "no price `postgres_hour` for db.x2g.16xlarge"),
            (
                "Lake",
                "the price table has no price for AWS::Redshift::Cluster"
            ),
        ]
    );
}

#[test]
fn a_region_without_prices_has_no_estimate() {
    let environment = environment("dev", &["account.region=eu-central-1"]);
    let error = estimate(&[], &environment, &environment.settings.usage).expect_err("no table");
    assert_eq!(
        error.to_string(),
        "no price table for the region eu-central-1; available: us-east-1"
    );
}

#[test]
fn services_without_an_image_have_no_tasks_and_cost_none() {
    let environment = Environment::named("prod").expect("known");
    let estimate = estimate(
        &stacks(&environment),
        &environment,
        &environment.settings.usage,
    )
    .expect("prices");
    assert!(environment.settings.compute.image_digest.is_empty());
    assert!(
        estimate
            .lines
            .iter()
            .all(|line| !line.price.starts_with("fargate"))
    );
}

#[test]
fn the_delta_of_an_estimate_and_itself_is_empty() {
    let estimate = cost("dev", &[]);
    assert_eq!(delta(&estimate, &estimate).changes, []);
}

/// The golden file shows reviewers the cost of a template change.
#[test]
fn the_golden_costs_are_what_the_environments_cost() {
    let golden: BTreeMap<&str, Value> = ["dev", "staging", "prod"]
        .map(|name| {
            let estimate = cost(name, &[]);
            let mut groups: BTreeMap<String, MicroUsd> = BTreeMap::new();
            for line in &estimate.lines {
                let group = groups
                    .entry(format!("{}: {}", line.stack, line.what))
                    .or_default();
                *group = *group + line.month;
            }
            let usd: BTreeMap<&str, String> = [
                ("fixed", estimate.fixed.to_string()),
                ("usage", estimate.usage.to_string()),
                ("total", estimate.total.to_string()),
            ]
            .into();
            let groups: BTreeMap<String, String> = groups
                .into_iter()
                .map(|(group, month)| (group, month.to_string()))
                .collect();
            (
                name,
                json!({ "usd_a_month": usd, "lines": groups, "unconfirmed": estimate.unconfirmed }),
            )
        })
        .into();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cost.json");
    crate::tests::fresh(&path, &json!(golden));
}
