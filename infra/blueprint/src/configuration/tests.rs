use proptest::prelude::*;

use super::*;
use crate::Environment;
use keys::Kind;
use rules::{Rule, Tier};

const ENVIRONMENTS: &[&str] = &["local", "dev", "staging", "prod"];

fn base() -> &'static str {
    embedded("local").expect("known")[0].text
}

/// Loads the repository's base file with `own` over it.
fn load(environment: &str, own: &str, overrides: &[&str]) -> Result<Configuration, Problems> {
    let files = [
        File {
            name: "base.toml",
            text: base(),
        },
        File {
            name: "own.toml",
            text: own,
        },
    ];
    let overrides: Vec<_> = overrides
        .iter()
        .map(|argument| Override::from_argument(argument).expect("key=value"))
        .collect();
    Configuration::load(environment, &files, &overrides)
}

/// Loads the repository's files with overrides.
fn known(environment: &str, overrides: &[&str]) -> Result<Configuration, Problems> {
    let overrides: Vec<_> = overrides
        .iter()
        .map(|argument| Override::from_argument(argument).expect("key=value"))
        .collect();
    Configuration::load(
        environment,
        &embedded(environment).expect("known"),
        &overrides,
    )
}

/// Checks that a file has exactly these problems.
#[track_caller]
fn check(environment: &str, own: &str, expected: &[&str]) {
    let problems = load(environment, own, &[]).expect_err("a problem");
    let problems: Vec<String> = problems.0.iter().map(Problem::to_string).collect();
    assert_eq!(problems, expected, "\n{}", problems.join("\n"));
}

/// Returns the number of the line that begins with `start`.
fn line_of(text: &str, start: &str) -> usize {
    1 + text
        .lines()
        .position(|line| line.starts_with(start))
        .expect("a line")
}

/// Returns every key that a text sets, known or not.
fn paths(text: &str) -> Vec<String> {
    let table = DeTable::parse(text).expect("TOML");
    let mut written = Vec::new();
    flatten(String::new(), table.get_ref(), &mut written);
    written.into_iter().map(|entry| entry.path).collect()
}

#[test]
fn the_environments_have_the_decided_settings() {
    let [local, dev, staging, prod] =
        ["local", "dev", "staging", "prod"].map(|name| Environment::named(name).expect("known"));
    assert!(local.local && !dev.local && !staging.local && !prod.local);
    assert_eq!(local, Environment::local());
    assert!(prod.is_production() && !staging.is_production());
    let zones = |environment: &Environment| {
        (
            environment.settings.network.zones,
            environment.settings.network.nat_gateways,
        )
    };
    assert_eq!(
        [zones(&dev), zones(&staging), zones(&prod)],
        [(3, 1), (2, 2), (3, 3)]
    );
    assert_eq!(prod.settings.compute.storefront_tasks, (10, 100));
    assert_eq!(prod.settings.backup.copy_to_region, "us-west-2");
    assert!(Environment::named("nowhere").is_none());
}

#[test]
fn base_has_every_key_of_the_table_and_no_other() {
    let (mut base, mut table) = (
        paths(base()),
        KEYS.iter()
            .map(|key| key.path.to_owned())
            .collect::<Vec<_>>(),
    );
    base.sort();
    table.sort();
    assert_eq!(base, table);
}

#[test]
fn comments_in_base_are_those_of_the_key_table() {
    let mut lines = base().lines().peekable();
    let (mut group, mut told) = (String::new(), 0);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix('[') {
            group = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = lines.peek().and_then(|next| next.split_once(" = ")) {
            let key = keys::key(&format!("{group}.{name}")).expect("a key of the table");
            assert_eq!(
                line,
                format!("# {} ({}).", key.about, key.kind),
                "above {}",
                key.path
            );
            told += 1;
        }
    }
    assert_eq!(told, KEYS.len());
}

#[test]
fn environment_files_contain_only_values_that_differ_from_base() {
    for environment in ENVIRONMENTS {
        let configuration = known(environment, &[]).expect("right");
        for given in configuration.explain() {
            let in_base = given.origin.to_string().contains("base.toml");
            assert_eq!(
                in_base,
                given.value == given.default,
                "{environment}: {}",
                given.key
            );
        }
    }
}

#[test]
fn no_two_environments_share_a_name_in_dns_or_a_range_of_addresses() {
    let unique = |of: fn(&Settings) -> String| {
        let all: BTreeSet<_> = ENVIRONMENTS
            .iter()
            .map(|name| of(&Environment::named(name).expect("known").settings))
            .collect();
        assert_eq!(all.len(), ENVIRONMENTS.len(), "{all:?}");
    };
    unique(|settings| settings.edge.domain.clone());
    unique(|settings| settings.network.cidr.clone());
}

#[test]
fn every_kind_admits_its_example_and_every_field_holds_its_whole_range() {
    for key in KEYS {
        let ends = match key.kind {
            Kind::Integer { least, most } => vec![Value::Integer(least), Value::Integer(most)],
            Kind::IntegerOf(numbers) => numbers
                .iter()
                .map(|number| Value::Integer(*number))
                .collect(),
            Kind::OneOf(words) => words
                .iter()
                .map(|word| Value::Text((*word).to_owned()))
                .collect(),
            Kind::Pair { least, most } => vec![Value::Pair(least, most)],
            _ => Vec::new(),
        };
        for value in ends.into_iter().chain([key.kind.example()]) {
            assert!(key.kind.admits(&value), "{} = {value}", key.path);
            let mut values: Values = KEYS
                .iter()
                .map(|key| (key.path, key.kind.example()))
                .collect();
            values.insert(key.path, value.clone());
            assert!(
                keys::settings(&values).is_ok(),
                "{} cannot hold {value}",
                key.path
            );
        }
    }
}

#[test]
fn every_invalid_setting_is_reported_with_its_line_and_the_allowed_values() {
    check(
        "dev",
        "[network]\nzones = 4\n",
        &["own.toml:2: network.zones: found 4; allowed: 2 to 3"],
    );
    check(
        "dev",
        "network.zones = \"3\"",
        &["own.toml:1: network.zones: found \"3\"; allowed: 2 to 3"],
    );
    check(
        "dev",
        "[network]\ncidr = \"8.8.0.0/16\"",
        &[
            "own.toml:2: network.cidr: found \"8.8.0.0/16\"; allowed: a private range of size /16, such as \"10.20.0.0/16\"",
        ],
    );
    check(
        "dev",
        "database = { multi_az = 1, engine = \"mysql\" }",
        &[
            "own.toml:1: database.multi_az: found 1; allowed: true or false",
            "own.toml:1: database.engine: found \"mysql\"; allowed: \"postgres\" or \"aurora\"",
        ],
    );
    check(
        "dev",
        "[compute]\nworker_tasks = [10, 2]",
        &["own.toml:2: compute.worker_tasks: found [10, 2]; allowed: [least, most], 1 to 1_000"],
    );
    check(
        "dev",
        "[observability]\ntrace_share = nan\nbudget_usd = 99999999999999999999",
        &[
            "own.toml:2: observability.trace_share: found nan; allowed: 0 to 1",
            "own.toml:3: observability.budget_usd: found 99999999999999999999; allowed: 1 to 1_000_000",
        ],
    );
    check(
        "dev",
        "[edge]\ncors_origins = [\"*\"]",
        &[
            "own.toml:2: edge.cors_origins: found [\"*\"]; allowed: list of 1 to 10, each https:// and a DNS name, with or without a port, such as [\"https://shop.brewhaven.example\"]",
        ],
    );
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let unknown = |line: &str, key: &str, meant: &str| {
        let found = format!(
            "own.toml:1: {key}: found an unknown key; allowed: a key of `haven config explain`{meant}"
        );
        check("dev", line, &[&found]);
    };
    unknown(
        "network.zone = 3",
        "network.zone",
        "; did you mean network.zones?",
    );
    unknown(
        "netwrok.zones = 3",
        "netwrok.zones",
        "; did you mean network.zones?",
    );
    unknown(
        "multi_az = true",
        "multi_az",
        "; did you mean database.multi_az?",
    );
    unknown(
        "cache.multi_az = true",
        "cache.multi_az",
        "; did you mean database.multi_az?",
    );
    unknown(
        "Network.Zones = 3",
        "Network.Zones",
        "; did you mean network.zones?",
    );
    unknown("espresso = 3", "espresso", "");
    unknown("[roastery]", "roastery", "");
    unknown("network = 3", "network", "");
    unknown("network.zones.more = 3", "network.zones.more", "");
}

#[test]
fn all_problems_are_reported_together() {
    check(
        "prod",
        "# who knows\n[network]\nzones = 7\n\n[databse]\nmulti_az = false\n\n[database]\nmulti_az = false\nbackup_days = 14\n",
        &[
            "own.toml:3: network.zones: found 7; allowed: 2 to 3",
            "own.toml:6: databse.multi_az: found an unknown key; allowed: a key of `haven config explain`; did you mean database.multi_az?",
            "own.toml:9: database.multi_az: found false; allowed: true in staging and prod: without it, the failure of a zone stops the shop",
            "own.toml:10: database.backup_days: found 14; allowed: 30 or more in prod: damage is often found a month late",
            &format!(
                "base.toml:{}: backup.copy_to_region: found \"\"; allowed: a region in prod: orders must survive the loss of their own region",
                line_of(base(), "copy_to_region")
            ),
        ],
    );
}

#[test]
fn a_misspelled_key_is_reported_once() {
    let own = "backup.copy_to_regoin = \"us-west-2\"\nnetwork.nat_gateways = 3\ndatabase.backup_days = 30\n";
    let meant = "an unknown key; allowed: a key of `haven config explain`; did you mean backup.copy_to_region?";
    check(
        "prod",
        own,
        &[&format!("own.toml:1: backup.copy_to_regoin: found {meant}")],
    );
}

#[test]
fn invalid_toml_is_reported_by_line_without_broken_rules() {
    let problems = load(
        "prod",
        "[network]\nzones = = 3\ncidr = \"nowhere\"\n[edge\n",
        &[],
    )
    .expect_err("a problem");
    let told: Vec<String> = problems.0.iter().map(Problem::to_string).collect();
    assert_eq!(told.len(), 3, "{problems}");
    assert!(
        told[0].starts_with("own.toml:2: found invalid TOML: "),
        "{problems}"
    );
    assert!(
        told[1].starts_with("own.toml:4: found invalid TOML: "),
        "{problems}"
    );
    assert!(
        told[2].starts_with("own.toml:3: network.cidr: "),
        "{problems}"
    );
    let twice = load("dev", "[network]\nzones = 2\nzones = 3\n", &[])
        .expect_err("a key twice")
        .to_string();
    assert!(
        twice.starts_with("own.toml:3: found invalid TOML: "),
        "{twice}"
    );
}

#[test]
fn a_base_without_a_key_is_refused_even_when_the_environment_sets_it() {
    let torn = base().replace("zones = 3\n", "");
    let files = [
        File {
            name: "base.toml",
            text: &torn,
        },
        File {
            name: "own.toml",
            text: "network.zones = 2",
        },
    ];
    let problems = Configuration::load("dev", &files, &[])
        .expect_err("a problem")
        .to_string();
    assert_eq!(
        problems,
        "base.toml: network.zones: found no default; allowed: 2 to 3"
    );
    let none = Configuration::load("dev", &[], &[]).expect_err("no file at all");
    assert_eq!(none.0.len(), KEYS.len());
}

#[test]
fn overrides_win_over_files_and_files_over_base() {
    let origin = |configuration: &Configuration, key: &str| {
        let explained = configuration
            .explain()
            .into_iter()
            .find(|given| given.key == key)
            .expect("explained");
        (
            explained.value,
            explained.origin.to_string(),
            explained.default,
        )
    };
    let owned = |value: &str, origin: &str, default: &str| {
        (value.to_owned(), origin.to_owned(), default.to_owned())
    };
    let files = load("dev", "[cache]\nreplicas = 2\n", &[]).expect("right");
    assert_eq!(
        origin(&files, "cache.replicas"),
        owned("2", "own.toml:2", "1")
    );
    assert_eq!(
        origin(&files, "cache.snapshot_days").1,
        format!("base.toml:{}", line_of(base(), "snapshot_days"))
    );
    let over = load(
        "dev",
        "[cache]\nreplicas = 2\n",
        &["cache.replicas=3", "cache.replicas=4"],
    )
    .expect("right");
    assert_eq!(
        origin(&over, "cache.replicas"),
        owned("4", "--set cache.replicas", "1")
    );
    assert_eq!(over.settings.cache.replicas, 4);
}

#[test]
fn an_override_needs_no_quotes_and_no_brackets() {
    let overrides = [
        "compute.storefront_tasks=4, 20",
        "compute.worker_tasks=[2,3]",
        "backup.copy_to_region=eu-west-1",
        "edge.cors_origins=https://shop.local.brewhaven.example,https://pos.brewhaven.example:8443",
        "database.multi_az=false",
        "database.engine=aurora",
        "observability.trace_share=1",
        "edge.daily_quota=5_000",
    ];
    let settings = load("dev", "", &overrides).expect("right").settings;
    assert_eq!(
        (
            settings.compute.storefront_tasks,
            settings.compute.worker_tasks
        ),
        ((4, 20), (2, 3))
    );
    assert_eq!(settings.backup.copy_to_region, "eu-west-1");
    assert_eq!(settings.edge.cors_origins.len(), 2);
    assert!(!settings.database.multi_az);
    assert_eq!(settings.database.engine, Engine::Aurora);
    assert_eq!(
        (
            settings.observability.trace_share,
            settings.edge.daily_quota
        ),
        (1.0, 5_000)
    );
    for wrong in [
        "network.zones=",
        "network.zones=three",
        "compute.worker_tasks=1",
        "compute.worker_tasks=1,2,3",
    ] {
        let problem = load("dev", "", &[wrong]).expect_err(wrong).to_string();
        assert!(
            problem.starts_with(&format!(
                "--set {}: ",
                wrong.split('=').next().expect("a key")
            )),
            "{problem}"
        );
    }
}

#[test]
fn a_variable_names_a_key_with_two_underscores() {
    let given = Override::from_variable("HAVEN_SET_compute__bake_minutes", "9").expect("ours");
    assert_eq!(
        (given.key.as_str(), given.origin.as_str()),
        ("compute.bake_minutes", "HAVEN_SET_compute__bake_minutes")
    );
    assert_eq!(
        Override::from_variable("HAVEN_SET_NETWORK__ZONES", "2")
            .expect("ours")
            .key,
        "network.zones"
    );
    assert_eq!(Override::from_variable("HAVEN_ENV", "dev"), None);
    assert_eq!(Override::from_argument("network.zones"), None);
    let problem = Configuration::load(
        "dev",
        &embedded("dev").expect("known"),
        &[Override {
            key: "network.zone".to_owned(),
            text: "3".to_owned(),
            origin: "HAVEN_SET_network__zone".to_owned(),
        }],
    );
    let problem = problem.expect_err("unknown").to_string();
    assert!(
        problem.starts_with("HAVEN_SET_network__zone: network.zone: found an unknown key"),
        "{problem}"
    );
}

#[test]
fn invalid_texts_are_rejected() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "account.id",
            &["", "123456789012"],
            &["12345678901", "1234567890123", "12345678901x", "١٢٣٤٥٦"],
        ),
        (
            "account.region",
            &[
                "eu-central-1",
                "ap-southeast-4",
                "us-gov-west-1",
                "eusc-de-east-1",
            ],
            &[
                "",
                "us-east",
                "us-east-1a",
                "US-EAST-1",
                "us--1",
                "us-east-0",
                "everywhere-1",
            ],
        ),
        (
            "network.cidr",
            &[
                "10.0.0.0/16",
                "10.255.0.0/16",
                "172.16.0.0/16",
                "172.31.0.0/16",
                "192.168.0.0/16",
            ],
            &[
                "10.0.0.0/8",
                "10.0.1.0/16",
                "10.256.0.0/16",
                "10.01.0.0/16",
                "172.32.0.0/16",
                "192.169.0.0/16",
                "0.0.0.0/0",
            ],
        ),
        (
            "database.engine_version",
            &["15.0", "16.9", "17.10"],
            &["16", "14.12", "16.9.1", "16.09", "99.1", "16.x"],
        ),
        (
            "database.instance_class",
            &[
                "db.t4g.medium",
                "db.r7g.large",
                "db.r6gd.16xlarge",
                "db.m7i.xlarge",
            ],
            &[
                "db.t4g",
                "cache.t4g.small",
                "t4g.medium",
                "db.t4g.huge",
                "db.r7g.1xlarge",
                "db.R7g.large",
                "db.x.large",
            ],
        ),
        (
            "cache.node_type",
            &["cache.t4g.small", "cache.r7g.2xlarge"],
            &["db.t4g.small", "cache.t4g.", "cache..small"],
        ),
        (
            "compute.image_digest",
            &[""],
            &["latest", "sha256:", "sha256:E3B0", "brew-haven:1.0"],
        ),
        (
            "edge.domain",
            &["shop.brewhaven.example", "a.b", "xn--caf-dma.example"],
            &[
                "",
                "shop",
                "Shop.example",
                "-a.example",
                "a..example",
                "shop.example.",
                "10.0.0.1",
                "a b.example",
            ],
        ),
        (
            "edge.hosted_zone_id",
            &["Z1", "Z0123456789ABCDEFGHIJ"],
            &["", "Z", "z123", "/hostedzone/Z1"],
        ),
        (
            "edge.cors_origins",
            &["https://a.example", "https://a.example:8443"],
            &[
                "",
                "*",
                "http://a.example",
                "https://a.example/",
                "https://a.example:0",
                "https://*.a.example",
            ],
        ),
        (
            "observability.alarm_email",
            &["on-call@a.example"],
            &["", "on-call", "@a.example", "a@b@c.example", "a@b"],
        ),
        (
            "observability.log_days",
            &["365", "3653"],
            &["0", "366", "-1", "3654"],
        ),
        (
            "account.owner",
            &["platform", "Team A: coffee"],
            &["", "a\nb", "a\"b", "a,b"],
        ),
    ];
    for (path, good, wrong) in cases {
        let kind = keys::key(path).expect("a key").kind;
        assert!(
            good.iter().all(|text| kind.read_plain(text).is_some()),
            "{path}: one of {good:?} is refused"
        );
        assert!(
            wrong.iter().all(|text| kind.read_plain(text).is_none()),
            "{path}: one of {wrong:?} is let through"
        );
    }
}

/// Returns an environment of the repository with overrides that break only this rule.
fn breaking(rule: &Rule) -> (&'static str, &'static [&'static str]) {
    match (rule.tier, rule.keys) {
        (Tier::Every, ["network.nat_gateways", _]) => ("dev", &["network.nat_gateways=2"]),
        (Tier::Every, ["database.storage_gib", _]) => ("dev", &["database.storage_gib=182"]),
        (Tier::Every, ["database.engine", _]) => (
            "dev",
            &[
                "database.engine=aurora",
                "database.instance_class=db.t4g.small",
            ],
        ),
        (Tier::Every, ["backup.copy_to_region", _]) => {
            ("prod", &["backup.copy_to_region=us-east-1"])
        }
        (Tier::Every, ["edge.cors_origins", _]) => ("dev", &["edge.domain=shop.brewhaven.example"]),
        (Tier::StagingAndProd, ["database.multi_az"]) => ("staging", &["database.multi_az=false"]),
        (Tier::Prod, ["network.zones"]) => ("prod", &["network.zones=2", "network.nat_gateways=2"]),
        (Tier::Prod, ["network.nat_gateways", _]) => ("prod", &["network.nat_gateways=1"]),
        (Tier::Prod, ["database.backup_days"]) => ("prod", &["database.backup_days=29"]),
        (Tier::Prod, ["backup.daily_days"]) => ("prod", &["backup.daily_days=29"]),
        (Tier::Prod, ["backup.copy_to_region"]) => ("prod", &["backup.copy_to_region="]),
        (Tier::Prod, ["compute.storefront_tasks"]) => ("prod", &["compute.storefront_tasks=1,100"]),
        (Tier::Prod, ["observability.log_days"]) => ("prod", &["observability.log_days=180"]),
        _ => panic!("nothing breaks {}", rule.asks),
    }
}

#[test]
fn every_rule_can_be_broken_and_its_keys_are_keys() {
    for rule in RULES {
        assert!(
            rule.keys.iter().all(|path| keys::key(path).is_some()),
            "{:?}",
            rule.keys
        );
        let (environment, overrides) = breaking(rule);
        let problems = known(environment, overrides).expect_err(rule.asks);
        let asked: Vec<_> = problems
            .0
            .iter()
            .map(|problem| problem.allowed.as_str())
            .collect();
        assert_eq!(asked, [rule.asks], "{problems}");
        assert!(
            rule.keys
                .iter()
                .all(|path| problems.to_string().contains(path)),
            "{problems}"
        );
    }
}

#[test]
fn rules_for_prod_do_not_apply_to_dev() {
    for rule in RULES.iter().filter(|rule| rule.tier != Tier::Every) {
        assert!(!rule.tier.covers("dev") && !rule.tier.covers("local"));
        assert!(
            rule.tier.covers("prod")
                && rule.tier.covers("prod-eu")
                && rule.tier.covers("production")
        );
    }
    assert!(
        known(
            "dev",
            &[
                "database.multi_az=false",
                "backup.daily_days=7",
                "network.zones=2"
            ]
        )
        .is_ok()
    );
    let eu = load("prod-eu", "database.multi_az = false", &[])
        .expect_err("prod by another name")
        .to_string();
    assert!(eu.contains("true in staging and prod"), "{eu}");
}

#[test]
fn an_environment_s_name_fits_into_the_names_of_stacks() {
    assert!(load("student-7", "", &[]).is_ok());
    for name in [
        "",
        "Prod",
        "7",
        "a b",
        "x-",
        "a-name-that-is-much-too-long",
        "../prod",
    ] {
        assert!(
            load(name, "", &[])
                .expect_err(name)
                .to_string()
                .starts_with("the environment's name: found ")
        );
    }
}

#[test]
fn an_explanation_has_value_origin_default_range_and_meaning() {
    let explained = known("prod", &[]).expect("right").explain();
    assert_eq!(explained.len(), KEYS.len());
    let of = |key: &str| {
        explained
            .iter()
            .find(|given| given.key == key)
            .expect("explained")
            .to_string()
    };
    let prod = embedded("prod").expect("known")[1].text;
    assert_eq!(
        of("database.backup_days"),
        format!(
            "database.backup_days = 35\n    from infra/environments/prod.toml:{}; the default is 7\n    \
             Days that automatic backups are kept: 7 to 35\n    30 or more in prod: damage is often found a month late",
            line_of(prod, "backup_days")
        )
    );
    assert_eq!(
        of("cache.replicas"),
        format!(
            "cache.replicas = 1\n    from infra/environments/base.toml:{}, the default\n    \
             Replicas beside the primary; failover needs one: 1 to 5",
            line_of(base(), "replicas")
        )
    );
}

#[test]
fn explained_values_can_be_loaded_again() {
    for environment in ENVIRONMENTS {
        let configuration = known(environment, &[]).expect("right");
        let lines: Vec<_> = configuration
            .explain()
            .iter()
            .map(|given| format!("{} = {}", given.key, given.value))
            .collect();
        let again = load(environment, &lines.join("\n"), &[]).expect("right");
        assert_eq!(again.settings, configuration.settings);
    }
}

/// Returns TOML values of every type, most of them invalid.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string().to_lowercase()),
        any::<bool>().prop_map(|value| value.to_string()),
        "[a-z0-9./:@*-]{0,20}".prop_map(|text| format!("\"{text}\"")),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(|numbers| format!("{numbers:?}")),
        Just("1979-05-27".to_owned()),
        Just("0xffff_ffff".to_owned()),
        Just("{}".to_owned()),
        Just("[[[]]]".to_owned()),
    ]
}

proptest! {
    // 64 cases take less than a second. Tens of thousands were run once by hand.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_causes_a_panic(text in ".{0,200}", name in ".{0,20}") {
        let _ = load(&name, &text, &[]);
        let _ = Configuration::load(&name, &[File { name: "base.toml", text: &text }], &[]).expect_err("no defaults");
    }

    #[test]
    fn no_mistake_in_base_causes_a_panic(at in 0_usize..6_000, length in 0_usize..20, text in "\\PC{0,6}") {
        let mut torn: Vec<char> = base().chars().collect();
        let at = at.min(torn.len());
        torn.splice(at..(at + length).min(torn.len()), text.chars());
        let torn: String = torn.into_iter().collect();
        let _ = Configuration::load("dev", &[File { name: "base.toml", text: &torn }], &[]);
    }

    #[test]
    fn a_value_is_accepted_unchanged_or_refused_by_name(key in prop::sample::select(KEYS), value in any_value()) {
        match load("dev", &format!("{} = {value}", key.path), &[]) {
            Ok(configuration) => {
                let given = configuration.explain().into_iter().find(|given| given.key == key.path).expect("explained");
                prop_assert_eq!(given.origin.to_string(), "own.toml:1");
            }
            Err(problems) => {
                prop_assert!(problems.0.iter().all(|problem| problem.to_string().contains(key.path)), "{}", problems);
            }
        }
    }

    #[test]
    fn no_override_causes_a_panic(key in prop::sample::select(KEYS), text in ".{0,40}", other in ".{0,80}") {
        let given = |key: &str| Override { key: key.to_owned(), text: text.clone(), origin: "--set".to_owned() };
        let files = embedded("prod").expect("known");
        let _ = Configuration::load("prod", &files, &[given(key.path), given(&other)]);
        let _ = Override::from_argument(&other);
    }
}
