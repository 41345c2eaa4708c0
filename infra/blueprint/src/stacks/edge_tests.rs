use contract::role::STOREFRONT;

use super::balancer::TEST_PORT;
use super::firewall::WEBHOOK_PATH;
use super::stage::access_log_format;
use super::*;

fn environments() -> Vec<Environment> {
    ["dev", "staging", "prod"]
        .into_iter()
        .filter_map(Environment::named)
        .collect()
}

fn template(environment: &Environment) -> Value {
    edge(environment).into_json()
}

/// Returns logical ids and properties of the resources of a type.
fn of<'a>(template: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let resources = template["Resources"].as_object().expect("resources");
    let of_kind = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind);
    of_kind
        .map(|(id, resource)| (id.as_str(), &resource["Properties"]))
        .collect()
}

fn attribute<'a>(attributes: &'a Value, key: &str) -> &'a Value {
    let attributes = attributes.as_array().expect("attributes");
    let found = attributes.iter().find(|attribute| attribute["Key"] == key);
    &found.unwrap_or_else(|| panic!("no {key}"))["Value"]
}

fn seconds(attributes: &Value, key: &str) -> u64 {
    attribute(attributes, key)
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

#[test]
fn no_security_group_of_the_edge_stack_is_open_to_the_internet() {
    for environment in environments() {
        let template = template(&environment);
        let groups = of(&template, "AWS::EC2::SecurityGroup");
        assert_eq!(groups.len(), 2);
        for (id, group) in groups {
            for direction in ["SecurityGroupIngress", "SecurityGroupEgress"] {
                for rule in group[direction].as_array().expect("explicit rules") {
                    assert!(rule["Description"].is_string(), "{id}");
                    let range = rule["CidrIp"].as_str().unwrap_or("another group");
                    assert!(
                        !range.ends_with("/0") && rule.get("CidrIpv6").is_none(),
                        "{id}: {range}"
                    );
                }
            }
            assert_ne!(
                group["SecurityGroupEgress"],
                json!([]),
                "{id}: without a rule everything may leave"
            );
        }
        let cidr = &environment.settings.network.cidr;
        let test =
            &template["Resources"]["BalancerTestGroup"]["Properties"]["SecurityGroupIngress"];
        assert_eq!(
            (&test[0]["FromPort"], &test[0]["CidrIp"]),
            (&json!(TEST_PORT), &json!(cidr))
        );
    }
}

#[test]
fn listeners_have_known_ports_and_answer_404_to_unknown_names() {
    for environment in environments() {
        let template = template(&environment);
        let mut ports = Vec::new();
        for (id, listener) in of(&template, "AWS::ElasticLoadBalancingV2::Listener") {
            let action = &listener["DefaultActions"][0];
            if listener["Protocol"] == "HTTPS" {
                assert_eq!(action["FixedResponseConfig"]["StatusCode"], "404", "{id}");
                let certificate = &listener["Certificates"][0]["CertificateArn"]["Ref"];
                let certificate = certificate
                    .as_str()
                    .expect("a certificate of this template");
                assert!(template["Resources"].get(certificate).is_some());
            }
            ports.push(listener["Port"].as_u64().expect("a port"));
        }
        ports.sort_unstable();
        assert_eq!(ports, [80, 443, u64::from(TEST_PORT)]);
        for (id, api) in of(&template, "AWS::ApiGateway::RestApi") {
            assert!(
                api["SecurityPolicy"]
                    .as_str()
                    .is_some_and(|policy| policy.contains("_TLS13_1_2_")),
                "{id}"
            );
            assert_eq!(
                api["DisableExecuteApiEndpoint"], true,
                "{id}: the default name has rules of its own"
            );
        }
    }
}

#[test]
fn the_certificate_covers_every_name_and_every_name_leads_here() {
    for environment in environments() {
        let template = template(&environment);
        let (_, certificate) = of(&template, "AWS::CertificateManager::Certificate")[0];
        let covered = [
            &certificate["DomainName"],
            &certificate["SubjectAlternativeNames"][0],
        ];
        let records = of(&template, "AWS::Route53::RecordSet");
        assert_eq!(records.len(), covered.len());
        for (id, record) in records {
            assert!(covered.contains(&&record["Name"]), "{id}");
            assert_eq!(
                record["HostedZoneId"],
                environment.settings.edge.hosted_zone_id.as_str(),
                "{id}"
            );
        }
        let validated = certificate["DomainValidationOptions"]
            .as_array()
            .expect("validation");
        for name in covered {
            assert!(
                validated.iter().any(|option| option["DomainName"] == *name),
                "{name} is never validated"
            );
        }
    }
}

#[test]
fn target_groups_let_requests_finish_and_tolerate_a_database_failover() {
    for environment in environments() {
        let template = template(&environment);
        let groups = of(&template, "AWS::ElasticLoadBalancingV2::TargetGroup");
        assert_eq!(groups.len(), 2, "blue and green");
        assert_eq!(
            groups[0].1, groups[1].1,
            "customers must not notice which of them they are on"
        );
        for (id, group) in groups {
            let attributes = &group["TargetGroupAttributes"];
            let deregistration = seconds(attributes, "deregistration_delay.timeout_seconds");
            assert!(
                deregistration < STOREFRONT.drain.as_secs() && deregistration >= 10,
                "{id}: {deregistration} s"
            );
            let number = |key: &str| group[key].as_u64().expect("a number");
            assert!(
                number("HealthCheckIntervalSeconds") * number("UnhealthyThresholdCount") > 120,
                "{id}"
            );
            assert!(
                number("HealthCheckTimeoutSeconds") < number("HealthCheckIntervalSeconds"),
                "{id}"
            );
            assert_eq!(group["HealthCheckPath"], "/readyz", "{id}");
            assert_ne!(
                group["HealthCheckPort"],
                group["Port"].to_string(),
                "{id}: readiness is on its own address"
            );
        }
    }
}

#[test]
fn customers_and_testers_start_on_different_target_groups() {
    for environment in environments() {
        let template = template(&environment);
        let weights = |rule: &str| {
            let rule = &template["Resources"][rule]["Properties"];
            assert_eq!(
                rule["Conditions"][0]["HostHeaderConfig"]["Values"],
                json!([environment.settings.edge.domain])
            );
            let actions = rule["Actions"].as_array().expect("actions");
            assert_eq!(
                actions.len(),
                1,
                "ECS takes rules that do nothing but forward"
            );
            let groups = actions[0]["ForwardConfig"]["TargetGroups"]
                .as_array()
                .expect("groups");
            assert_eq!(groups.len(), 2, "ECS wants both in each rule");
            let first = groups
                .iter()
                .find(|group| group["TargetGroupArn"]["Ref"] == "StorefrontTargets");
            first.expect("the first")["Weight"].clone()
        };
        assert_eq!(
            (weights("StorefrontRule"), weights("StorefrontTestRule")),
            (json!(100), json!(0))
        );
    }
}

#[test]
fn every_operation_needs_a_key_and_uses_the_private_link() {
    for environment in environments() {
        let template = template(&environment);
        let (mut calls, mut questions) = (0, 0);
        for (id, method) in of(&template, "AWS::ApiGateway::Method") {
            if method["HttpMethod"] == "OPTIONS" {
                assert_eq!(
                    method["Integration"]["Type"], "MOCK",
                    "{id}: an answer without a key reaches nothing"
                );
                questions += 1;
                continue;
            }
            calls += 1;
            let integration = &method["Integration"];
            assert_eq!(method["ApiKeyRequired"], true, "{id}");
            assert_eq!(integration["ConnectionType"], "VPC_LINK", "{id}");
            assert_eq!(integration["IntegrationTarget"]["Ref"], "Balancer", "{id}");
            let begin = format!("https://{}/api/v1/", environment.settings.edge.domain);
            assert!(
                integration["Uri"]
                    .as_str()
                    .is_some_and(|uri| uri.starts_with(&begin)),
                "{id}"
            );
            assert!(method["RequestValidatorId"]["Ref"].is_string(), "{id}");
        }
        assert_eq!(
            (calls, questions),
            (operations().len(), 5),
            "browsers ask before each path"
        );
    }
}

#[test]
fn an_order_is_never_answered_from_the_cache() {
    for mut environment in environments() {
        environment.settings.edge.cache_seconds = 5;
        let template = template(&environment);
        let (_, stage) = of(&template, "AWS::ApiGateway::Stage")[0];
        assert_eq!(stage["CacheClusterEnabled"], true);
        let kept: Vec<_> = stage["MethodSettings"]
            .as_array()
            .expect("settings")
            .iter()
            .filter(|settings| settings["CacheTtlInSeconds"] != 0)
            .map(|settings| {
                (
                    &settings["HttpMethod"],
                    &settings["ResourcePath"],
                    &settings["CacheTtlInSeconds"],
                )
            })
            .collect();
        assert_eq!(
            kept,
            [(&json!("GET"), &json!("/~1api~1v1~1menu"), &json!(5))]
        );
    }
}

#[test]
fn without_cache_seconds_there_is_no_cache_cluster_and_a_reason() {
    for mut environment in environments() {
        environment.settings.edge.cache_seconds = 0;
        let template = template(&environment);
        let stage = &template["Resources"]["ApiStage"];
        assert_eq!(stage["Properties"]["CacheClusterEnabled"], false);
        assert!(stage["Properties"].get("CacheClusterSize").is_none());
        assert!(stage["Metadata"]["checkov"]["skip"][0]["comment"].is_string());
    }
}

#[test]
fn a_change_of_the_api_is_a_new_deployment_and_no_change_is_none() {
    let environment = Environment::named("prod").expect("known");
    let deployment = |environment: &Environment| {
        let template = template(environment);
        let deployments = of(&template, "AWS::ApiGateway::Deployment");
        assert_eq!(deployments.len(), 1);
        deployments[0].0.to_owned()
    };
    let mut other_origin = environment.clone();
    other_origin.settings.edge.cors_origins = vec!["https://kiosk.brewhaven.example".to_owned()];
    let mut other_rate = environment.clone();
    other_rate.settings.edge.rate += 1;
    assert_eq!(deployment(&environment), deployment(&environment));
    assert_eq!(
        deployment(&environment),
        deployment(&other_rate),
        "limits are the stage's, not the deployment's"
    );
    assert_ne!(deployment(&environment), deployment(&other_origin));
}

#[test]
fn without_an_origin_there_are_no_cors_headers() {
    let mut environment = Environment::named("prod").expect("known");
    environment.settings.edge.cors_origins.clear();
    let text = template(&environment).to_string().to_ascii_lowercase();
    assert!(!text.contains("access-control-allow") && !text.contains("access_control_allow"));
    environment
        .settings
        .edge
        .cors_origins
        .push("https://shop.brewhaven.example".to_owned());
    let text = template(&environment).to_string();
    assert!(text.contains("Access-Control-Allow-Origin") && !text.contains("Allow-Credentials"));
}

#[test]
fn rate_limits_exempt_the_api_and_the_payment_gateway() {
    for environment in environments() {
        let template = template(&environment);
        let (_, firewall) = of(&template, "AWS::WAFv2::WebACL")[0];
        let rates: Vec<&Value> = firewall["Rules"]
            .as_array()
            .expect("rules")
            .iter()
            .map(|rule| &rule["Statement"]["RateBasedStatement"])
            .filter(|rate| rate.is_object())
            .collect();
        assert_eq!(rates.len(), 2);
        assert_eq!(
            rates[0]["Limit"],
            environment.settings.edge.requests_per_address
        );
        let spared = rates[0]["ScopeDownStatement"]["AndStatement"]["Statements"]
            .as_array()
            .expect("two");
        let spared: Vec<String> = spared
            .iter()
            .map(|statement| statement["NotStatement"]["Statement"].to_string())
            .collect();
        assert!(
            spared[0].contains("OwnAddresses") && spared[1].contains(WEBHOOK_PATH),
            "{spared:?}"
        );
        assert_eq!(
            rates[1]["ScopeDownStatement"]["ByteMatchStatement"]["SearchString"],
            WEBHOOK_PATH
        );
        let (_, own) = of(&template, "AWS::WAFv2::IPSet")[0];
        assert_eq!(own["Addresses"], json!([environment.settings.network.cidr]));
    }
}

#[test]
fn logs_have_the_retention_of_the_settings_and_no_credentials() {
    for environment in environments() {
        let template = template(&environment);
        let groups = of(&template, "AWS::Logs::LogGroup");
        assert_eq!(groups.len(), 3, "access, execution, firewall");
        for (id, group) in groups {
            assert_eq!(
                group["RetentionInDays"], environment.settings.observability.log_days,
                "{id}"
            );
            let fixed = group["LogGroupName"].is_string();
            assert!(
                !fixed,
                "{id}: the next stack of this name could not make it"
            );
        }
        let name =
            &template["Resources"]["FirewallLog"]["Properties"]["LogGroupName"]["Fn::Join"][1][0];
        assert!(
            name.as_str()
                .is_some_and(|name| name.starts_with("aws-waf-logs-"))
        );
        let (_, logging) = of(&template, "AWS::WAFv2::LoggingConfiguration")[0];
        let redacted = logging["RedactedFields"].to_string();
        for field in ["authorization", "cookie", "x-api-key", "QueryString"] {
            assert!(redacted.contains(field), "{field}");
        }
        let format: Value = serde_json::from_str(&access_log_format()).expect("JSON");
        for value in format.as_object().expect("fields").values() {
            assert!(
                value != "$context.path" && !value.to_string().contains("identity.apiKey\""),
                "{value}"
            );
        }
        let (_, stage) = of(&template, "AWS::ApiGateway::Stage")[0];
        for settings in stage["MethodSettings"].as_array().expect("settings") {
            assert_eq!(
                settings["DataTraceEnabled"], false,
                "bodies of orders would be in the log"
            );
            assert_eq!(settings["LoggingLevel"], "ERROR");
        }
    }
}

#[test]
fn usage_plans_follow_the_settings() {
    for environment in environments() {
        let template = template(&environment);
        let (_, plan) = of(&template, "AWS::ApiGateway::UsagePlan")[0];
        let edge = &environment.settings.edge;
        assert_eq!(
            plan["Throttle"],
            json!({ "RateLimit": edge.rate, "BurstLimit": edge.burst })
        );
        assert_eq!(plan["Quota"]["Limit"], edge.daily_quota);
        let (_, key) = of(&template, "AWS::ApiGateway::ApiKey")[0];
        assert!(key.get("Value").is_none(), "a secret in a template");
    }
}
