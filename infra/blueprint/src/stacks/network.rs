//! The VPC: subnets, routes, endpoints and security groups.
//!
//! The rules of all security groups are here, whichever stack uses the groups. A rule in the stack
//! of one side would make stacks depend on each other in a cycle.

mod endpoints;

use contract::{STOREFRONT_HEALTH_PORT, STOREFRONT_PORT};
use serde_json::{Value, json};

use endpoints::{gateway_endpoints, interface_endpoints};

use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::roles::document;
use crate::stacks::roles::{own_resource, trust_if};
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

const HTTPS: u16 = 443;
const HTTP: u16 = 80;
const POSTGRES: u16 = 5432;
const REDIS: u16 = 6379;
const WORLD: &str = "0.0.0.0/0";

/// Returns the stack with the network.
pub fn network(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: VPC and security groups");
    let vpc = vpc(&mut template);
    let public = subnets(&mut template, &vpc, Tier::Public);
    let private = subnets(&mut template, &vpc, Tier::Private);
    let isolated = subnets(&mut template, &vpc, Tier::Isolated);
    let online = public_routes(&mut template, &vpc, &public);
    let nat = nat_gateways(&mut template, &public, &online);
    let tables = private_routes(&mut template, &vpc, &nat, &private);
    isolated_routes(&mut template, &vpc, &isolated);
    let groups = security_groups(&mut template, &vpc);
    gateway_endpoints(&mut template, &vpc, &tables);
    interface_endpoints(&mut template, &vpc, &private, &groups.endpoints);
    flow_logs(&mut template, &vpc);

    Shared::Vpc.export(&mut template, reference(&vpc));
    Shared::PublicSubnets.export(&mut template, joined(&public));
    Shared::PrivateSubnets.export(&mut template, joined(&private));
    Shared::IsolatedSubnets.export(&mut template, joined(&isolated));
    for (shared, id) in [
        (Shared::BalancerGroup, &groups.balancer),
        (Shared::TaskGroup, &groups.tasks),
        (Shared::DatabaseClients, &groups.database_clients),
        (Shared::DatabaseGroup, &groups.database),
        (Shared::CacheClients, &groups.cache_clients),
        (Shared::CacheGroup, &groups.cache),
    ] {
        shared.export(&mut template, get_att(id, "GroupId"));
    }
    template
}

/// Returns the name for the console. The other tags come from the stack.
fn tags(environment: &Environment, name: &str) -> Value {
    json!([{ "Key": "Name", "Value": environment.stack_name(name) }])
}

fn joined(ids: &[LogicalId]) -> Value {
    json!({ "Fn::Join": [",", ids.iter().map(reference).collect::<Vec<_>>()] })
}

/// Adds the VPC. CloudFormation cannot remove the rules of its default security group, which lets
/// its members connect to each other. The group has no members, because all our resources name
/// their groups, and no other group allows it in.
fn vpc(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let properties = json!({
        "CidrBlock": environment.settings.network.cidr,
        // Private DNS names of endpoints need both.
        "EnableDnsHostnames": true,
        "EnableDnsSupport": true,
        "InstanceTenancy": "default",
        "Tags": tags(environment, "vpc"),
    });
    template.add("vpc", kind::EC2_VPC, properties)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// Reachable from the internet: load balancer and NAT gateways.
    Public,
    /// With a route to the internet: tasks.
    Private,
    /// Without either: database and cache.
    Isolated,
}

impl Tier {
    const fn slug(self) -> &'static str {
        match self {
            Tier::Public => "public",
            Tier::Private => "private",
            Tier::Isolated => "isolated",
        }
    }

    /// Returns the index of the tier's first subnet in the sixteen parts of the VPC's range. Each
    /// tier has four parts, so that another zone moves no subnet. The last four parts are free.
    const fn first_part(self) -> usize {
        match self {
            Tier::Public => 0,
            Tier::Private => 4,
            Tier::Isolated => 8,
        }
    }
}

/// Adds one subnet per zone. Each is a /20 with 4,091 addresses; a task uses one.
fn subnets(template: &mut Template<'_>, vpc: &LogicalId, tier: Tier) -> Vec<LogicalId> {
    let environment = template.environment;
    let zones = usize::from(environment.settings.network.zones);
    let add = |zone: usize| {
        let name = format!("{} subnet {}", tier.slug(), zone + 1);
        let parts = json!({ "Fn::Cidr": [environment.settings.network.cidr, 16, 12] });
        let properties = json!({
            "VpcId": reference(vpc),
            "AvailabilityZone": { "Fn::Select": [zone, { "Fn::GetAZs": "" }] },
            "CidrBlock": { "Fn::Select": [tier.first_part() + zone, parts] },
            "MapPublicIpOnLaunch": false,
            "Tags": tags(environment, &format!("{}-{}", tier.slug(), zone + 1)),
        });
        template.add(&name, kind::EC2_SUBNET, properties)
    };
    (0..zones).map(add).collect()
}

fn route_table(template: &mut Template<'_>, vpc: &LogicalId, name: &str) -> LogicalId {
    template.add(
        &format!("{name} route table"),
        kind::EC2_ROUTE_TABLE,
        json!({ "VpcId": reference(vpc), "Tags": tags(template.environment, name) }),
    )
}

fn associate(template: &mut Template<'_>, name: &str, table: &LogicalId, subnet: &LogicalId) {
    template.add(
        &format!("{name} association"),
        kind::EC2_SUBNET_ROUTE_TABLE_ASSOCIATION,
        json!({ "RouteTableId": reference(table), "SubnetId": reference(subnet) }),
    );
}

/// Adds the internet gateway and its routes. Returns the resource that must exist before anything
/// gets a public address.
fn public_routes(template: &mut Template<'_>, vpc: &LogicalId, subnets: &[LogicalId]) -> LogicalId {
    let environment = template.environment;
    let gateway = template.add(
        "internet gateway",
        kind::EC2_INTERNET_GATEWAY,
        json!({ "Tags": tags(environment, "internet") }),
    );
    let attachment = template.add(
        "internet gateway attachment",
        kind::EC2_VPC_GATEWAY_ATTACHMENT,
        json!({ "VpcId": reference(vpc), "InternetGatewayId": reference(&gateway) }),
    );
    let table = route_table(template, vpc, "public");
    let properties = json!({
        "RouteTableId": reference(&table),
        "DestinationCidrBlock": WORLD,
        "GatewayId": reference(&gateway),
    });
    let route = template.add("public route", kind::EC2_ROUTE, properties);
    template.after(&route, &[&attachment]);
    let why =
        "The load balancer and the NAT gateways need the route; these subnets contain nothing else";
    template.waive_public(&route, &["NO_UNRESTRICTED_ROUTE_TO_IGW"], why);
    for (zone, subnet) in subnets.iter().enumerate() {
        associate(template, &format!("public {}", zone + 1), &table, subnet);
    }
    attachment
}

/// Adds one NAT gateway, or one per zone.
fn nat_gateways(
    template: &mut Template<'_>,
    subnets: &[LogicalId],
    online: &LogicalId,
) -> Vec<LogicalId> {
    let environment = template.environment;
    let count = usize::from(environment.settings.network.nat_gateways).max(1);
    let mut gateways = Vec::new();
    for (zone, subnet) in subnets.iter().take(count).enumerate() {
        let name = format!("nat-{}", zone + 1);
        let address = template.add(
            &format!("{name} address"),
            kind::EC2_EIP,
            json!({ "Domain": "vpc", "Tags": tags(environment, &name) }),
        );
        template.after(&address, &[online]);
        let properties = json!({
            "AllocationId": get_att(&address, "AllocationId"),
            "ConnectivityType": "public",
            "SubnetId": reference(subnet),
            "Tags": tags(environment, &name),
        });
        gateways.push(template.add(&name, kind::EC2_NAT_GATEWAY, properties));
    }
    gateways
}

/// Adds a route table per zone with a route to the zone's NAT gateway. Zones share the gateways if
/// there are fewer gateways than zones.
fn private_routes(
    template: &mut Template<'_>,
    vpc: &LogicalId,
    nat: &[LogicalId],
    subnets: &[LogicalId],
) -> Vec<LogicalId> {
    let mut tables = Vec::new();
    for (zone, subnet) in subnets.iter().enumerate() {
        let name = format!("private-{}", zone + 1);
        let table = route_table(template, vpc, &name);
        let properties = json!({
            "RouteTableId": reference(&table),
            "DestinationCidrBlock": WORLD,
            "NatGatewayId": reference(&nat[zone % nat.len()]),
        });
        template.add(&format!("{name} route"), kind::EC2_ROUTE, properties);
        associate(template, &name, &table, subnet);
        tables.push(table);
    }
    tables
}

/// Adds a route table without a route out of the VPC.
fn isolated_routes(template: &mut Template<'_>, vpc: &LogicalId, subnets: &[LogicalId]) {
    let table = route_table(template, vpc, "isolated");
    for (zone, subnet) in subnets.iter().enumerate() {
        associate(template, &format!("isolated {}", zone + 1), &table, subnet);
    }
}

struct Groups {
    balancer: LogicalId,
    tasks: LogicalId,
    database_clients: LogicalId,
    database: LogicalId,
    cache_clients: LogicalId,
    cache: LogicalId,
    endpoints: LogicalId,
}

/// Adds the security groups. Clients of a service are in a client group, and the service accepts
/// connections from that group only.
fn security_groups(template: &mut Template<'_>, vpc: &LogicalId) -> Groups {
    let environment = template.environment;
    // A group without outgoing rules gets a rule to everywhere. A rule to the own host replaces it
    // (AWS::EC2::SecurityGroup, "Remove the default rule").
    let nowhere = json!({ "IpProtocol": "-1", "CidrIp": "127.0.0.1/32", "Description": "Nowhere" });
    let https = json!({
        "IpProtocol": "tcp", "FromPort": HTTPS, "ToPort": HTTPS, "CidrIp": WORLD,
        "Description": "AWS and the payment gateway",
    });
    let mut group = |name: &str, about: &str, out: &Value| {
        let properties = json!({
            "GroupDescription": about,
            "VpcId": reference(vpc),
            "SecurityGroupEgress": [out],
            "Tags": tags(environment, name),
        });
        let words = format!("{name} group");
        template.add(&words, kind::EC2_SECURITY_GROUP, properties)
    };
    let groups = Groups {
        balancer: group("balancer", "The load balancer", &nowhere),
        tasks: group("tasks", "Every task", &https),
        database_clients: group("database-clients", "May talk to the database", &nowhere),
        database: group("database", "The database", &nowhere),
        cache_clients: group("cache-clients", "May talk to the cache", &nowhere),
        cache: group("cache", "The cache", &nowhere),
        endpoints: group("endpoints", "Endpoints of AWS services", &nowhere),
    };
    world_to_balancer(template, &groups.balancer);
    let (balancer, tasks) = (("balancer", &groups.balancer), ("tasks", &groups.tasks));
    allow(template, balancer, tasks, STOREFRONT_PORT);
    // Between the same groups, for health checks.
    let health = ("tasks health", &groups.tasks);
    allow(template, balancer, health, STOREFRONT_HEALTH_PORT);
    let clients = ("database clients", &groups.database_clients);
    allow(template, clients, ("database", &groups.database), POSTGRES);
    let clients = ("cache clients", &groups.cache_clients);
    allow(template, clients, ("cache", &groups.cache), REDIS);
    // The outgoing rule of the tasks is HTTPS to everywhere.
    let endpoints = ("endpoints", &groups.endpoints);
    ingress(template, tasks, endpoints, HTTPS);
    groups
}

fn world_to_balancer(template: &mut Template<'_>, balancer: &LogicalId) {
    for (port, about) in [(HTTPS, "The shop"), (HTTP, "HTTP, redirected to HTTPS")] {
        let words = format!("world to balancer {port}");
        let properties = rule(balancer, ("CidrIp", json!(WORLD)), port, about);
        let rule = template.add(&words, kind::EC2_SECURITY_GROUP_INGRESS, properties);
        if port == HTTP {
            let reason = "Port 80 only redirects browsers to HTTPS; no other service listens there";
            template.waive_checkov(&rule, "CKV_AWS_260", reason);
        }
    }
}

/// Allows one group to connect to another at one port: an outgoing rule of the first and an
/// incoming rule of the second.
fn allow(template: &mut Template<'_>, from: (&str, &LogicalId), to: (&str, &LogicalId), port: u16) {
    let words = format!("{} out to {}", from.0, to.0);
    let target = ("DestinationSecurityGroupId", get_att(to.1, "GroupId"));
    let properties = rule(from.1, target, port, &format!("To {}", to.0));
    template.add(&words, kind::EC2_SECURITY_GROUP_EGRESS, properties);
    ingress(template, from, to, port);
}

fn ingress(
    template: &mut Template<'_>,
    from: (&str, &LogicalId),
    to: (&str, &LogicalId),
    port: u16,
) {
    let words = format!("{} in from {}", to.0, from.0);
    let source = ("SourceSecurityGroupId", get_att(from.1, "GroupId"));
    let properties = rule(to.1, source, port, &format!("From {}", from.0));
    template.add(&words, kind::EC2_SECURITY_GROUP_INGRESS, properties);
}

/// Returns the properties of a rule of a group. `other` is the property of the other side.
fn rule(group: &LogicalId, other: (&str, Value), port: u16, about: &str) -> Value {
    json!({
        "GroupId": get_att(group, "GroupId"), other.0: other.1, "Description": about,
        "IpProtocol": "tcp", "FromPort": port, "ToPort": port,
    })
}

fn flow_logs(template: &mut Template<'_>, vpc: &LogicalId) {
    let environment = template.environment;
    let properties = json!({
        "KmsKeyId": Shared::LogsKey.import(environment),
        "RetentionInDays": environment.settings.network.flow_log_days,
    });
    let group = template.add_kept("flow log group", kind::LOG_GROUP, properties, Keep::Data);
    let logs = "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:vpc-flow-log/*";
    let properties = json!({
        "Description": "Flow logs to CloudWatch Logs",
        "AssumeRolePolicyDocument": trust_if("vpc-flow-logs.amazonaws.com", own_resource(logs)),
        "PermissionsBoundary": Shared::RoleBoundary.import(environment),
    });
    let role = template.add("flow log role", kind::IAM_ROLE, properties);
    let properties = json!({
        "Description": "Writes flow logs",
        "PolicyDocument": document(json!([
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                "Resource": get_att(&group, "Arn"),
            },
            {
                "Effect": "Allow",
                "Action": "logs:DescribeLogGroups",
                "Resource": sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"),
            },
        ])),
        "Roles": [reference(&role)],
    });
    let permissions = template.add("flow log policy", kind::IAM_MANAGED_POLICY, properties);
    let properties = json!({
        "ResourceId": reference(vpc),
        "ResourceType": "VPC",
        "TrafficType": "ALL",
        "LogDestinationType": "cloud-watch-logs",
        "LogGroupName": reference(&group),
        "DeliverLogsPermissionArn": get_att(&role, "Arn"),
        "MaxAggregationInterval": 600,
        "Tags": tags(environment, "flow-logs"),
    });
    let log = template.add("flow log", kind::EC2_FLOW_LOG, properties);
    // The flow log refers to the role but not to its permissions.
    template.after(&log, &[&permissions]);
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use contract::role::ROLES;

    use super::*;

    fn environments() -> Vec<Environment> {
        ["dev", "staging", "prod"]
            .into_iter()
            .filter_map(Environment::named)
            .collect()
    }

    /// Returns names and properties.
    fn resources<'a>(template: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
        let resources = template["Resources"].as_object().expect("resources").iter();
        let of_kind = resources.filter(|(_, resource)| resource["Type"] == kind);
        of_kind
            .map(|(name, resource)| (name.as_str(), &resource["Properties"]))
            .collect()
    }

    /// Returns the logical id of the group that a rule belongs to or names.
    fn group(rule: &Value, key: &str) -> Option<String> {
        rule[key]["Fn::GetAtt"][0].as_str().map(str::to_owned)
    }

    /// Returns every rule of one direction with its group.
    fn rules(template: &Value, direction: &str) -> Vec<(String, Value)> {
        let mut rules = Vec::new();
        for (name, properties) in resources(template, "AWS::EC2::SecurityGroup") {
            let own = properties[format!("SecurityGroup{direction}")]
                .as_array()
                .cloned()
                .unwrap_or_default();
            rules.extend(own.into_iter().map(|rule| (name.to_owned(), rule)));
        }
        for (_, rule) in resources(template, &format!("AWS::EC2::SecurityGroup{direction}")) {
            rules.push((
                group(rule, "GroupId").expect("a group of ours"),
                rule.clone(),
            ));
        }
        rules
    }

    #[test]
    fn only_the_load_balancer_is_public_and_only_on_443_and_80() {
        for environment in environments() {
            let template = network(&environment).into_json();
            let mut open = Vec::new();
            for (name, rule) in rules(&template, "Ingress") {
                // A rule without one of our groups as its source is open to the outside.
                if group(&rule, "SourceSecurityGroupId").is_none() {
                    assert_eq!(rule["FromPort"], rule["ToPort"], "{name}");
                    open.push((name, rule["FromPort"].as_u64().expect("a port")));
                }
            }
            open.sort();
            assert_eq!(
                open,
                [
                    ("BalancerGroup".to_owned(), 80),
                    ("BalancerGroup".to_owned(), 443)
                ]
            );
        }
    }

    #[test]
    fn only_tasks_reach_the_internet_and_only_by_https() {
        for environment in environments() {
            let template = network(&environment).into_json();
            for (name, properties) in resources(&template, "AWS::EC2::SecurityGroup") {
                assert!(
                    properties["SecurityGroupEgress"].is_array(),
                    "{name} would get a way out to everywhere"
                );
            }
            for (name, rule) in rules(&template, "Egress") {
                let to_group = group(&rule, "DestinationSecurityGroupId").is_some();
                let nowhere = rule["CidrIp"] == "127.0.0.1/32";
                let https =
                    name == "TasksGroup" && rule["FromPort"] == 443 && rule["ToPort"] == 443;
                assert!(to_group || nowhere || https, "{name}: {rule}");
            }
        }
    }

    #[test]
    fn only_client_groups_reach_database_and_cache() {
        for environment in environments() {
            let template = network(&environment).into_json();
            for (name, clients, port) in [
                ("DatabaseGroup", "DatabaseClientsGroup", 5432),
                ("CacheGroup", "CacheClientsGroup", 6379),
            ] {
                let into: Vec<_> = rules(&template, "Ingress")
                    .into_iter()
                    .filter(|(group, _)| group == name)
                    .collect();
                let [(_, rule)] = &into[..] else {
                    panic!("{name} has {} ways in", into.len())
                };
                assert_eq!(
                    group(rule, "SourceSecurityGroupId").as_deref(),
                    Some(clients)
                );
                assert_eq!(
                    (&rule["FromPort"], &rule["ToPort"]),
                    (&json!(port), &json!(port))
                );
            }
        }
    }

    #[test]
    fn every_egress_rule_to_a_group_has_an_ingress_rule() {
        let template = network(&environments()[0]).into_json();
        let ways_in = rules(&template, "Ingress");
        for (from, out) in rules(&template, "Egress") {
            let Some(to) = group(&out, "DestinationSecurityGroupId") else {
                continue;
            };
            let met = ways_in.iter().any(|(name, rule)| {
                *name == to
                    && group(rule, "SourceSecurityGroupId").as_ref() == Some(&from)
                    && rule["FromPort"] == out["FromPort"]
            });
            assert!(met, "{from} may leave for {to}, which does not let it in");
        }
    }

    /// Returns the route table of each subnet.
    fn tables(template: &Value) -> BTreeMap<&str, &str> {
        let associations = resources(template, "AWS::EC2::SubnetRouteTableAssociation").into_iter();
        associations
            .filter_map(|(_, properties)| {
                Some((
                    properties["SubnetId"]["Ref"].as_str()?,
                    properties["RouteTableId"]["Ref"].as_str()?,
                ))
            })
            .collect()
    }

    /// Returns the gateway of each route table.
    fn gateways(template: &Value) -> BTreeMap<&str, &str> {
        let routes = resources(template, "AWS::EC2::Route").into_iter();
        routes
            .filter_map(|(_, route)| {
                let gateway = route.get("NatGatewayId").or(route.get("GatewayId"))?;
                Some((
                    route["RouteTableId"]["Ref"].as_str()?,
                    gateway["Ref"].as_str()?,
                ))
            })
            .collect()
    }

    #[test]
    fn subnets_are_public_private_or_isolated_in_every_zone() {
        for environment in environments() {
            let template = network(&environment).into_json();
            let (tables, gateways) = (tables(&template), gateways(&template));
            let zones = usize::from(environment.settings.network.zones);
            let mut ranges = BTreeSet::new();
            let subnets = resources(&template, "AWS::EC2::Subnet");
            assert_eq!(subnets.len(), 3 * zones);
            for (name, subnet) in subnets {
                assert!(
                    ranges.insert(subnet["CidrBlock"]["Fn::Select"][0].as_u64()),
                    "{name} has another's range"
                );
                let leads_to = gateways.get(tables[name]).copied();
                let right = match leads_to {
                    Some("InternetGateway") => name.starts_with("Public"),
                    Some(gateway) => name.starts_with("Private") && gateway.starts_with("Nat"),
                    None => name.starts_with("Isolated"),
                };
                assert!(right, "{name} leads to {leads_to:?}");
            }
        }
    }

    #[test]
    fn one_nat_gateway_per_zone_isolates_zone_failures() {
        let mut environment = environments()[0].clone();
        for (count, expected) in [(1, ["Nat1", "Nat1", "Nat1"]), (3, ["Nat1", "Nat2", "Nat3"])] {
            environment.settings.network.nat_gateways = count;
            let template = network(&environment).into_json();
            let (tables, gateways) = (tables(&template), gateways(&template));
            let used: Vec<_> = (1..=3)
                .map(|zone| gateways[tables[format!("PrivateSubnet{zone}").as_str()]])
                .collect();
            assert_eq!(used, expected);
            assert_eq!(
                resources(&template, "AWS::EC2::NatGateway").len(),
                usize::from(count)
            );
            for (name, endpoint) in resources(&template, "AWS::EC2::VPCEndpoint") {
                if endpoint["VpcEndpointType"] == "Interface" {
                    let subnets = endpoint["SubnetIds"].as_array().expect("a list").len();
                    assert_eq!(subnets, usize::from(count), "{name}");
                }
            }
        }
    }

    fn actions(policy: &Value) -> BTreeSet<&str> {
        let statements = policy["Statement"].as_array().into_iter().flatten();
        statements
            .flat_map(|statement| match &statement["Action"] {
                Value::Array(actions) => {
                    actions.iter().filter_map(Value::as_str).collect::<Vec<_>>()
                }
                action => action.as_str().into_iter().collect(),
            })
            .collect()
    }

    #[test]
    fn endpoint_policies_allow_the_actions_of_every_role() {
        let environment = &environments()[0];
        let template = network(environment).into_json();
        let endpoints = resources(&template, "AWS::EC2::VPCEndpoint");
        let through: BTreeSet<&str> = endpoints
            .iter()
            .flat_map(|(_, it)| actions(&it["PolicyDocument"]))
            .collect();
        let services: BTreeSet<&str> = through
            .iter()
            .filter_map(|action| action.split(':').next())
            .collect();
        // Streams have their own endpoint address, for which there is no VPC endpoint.
        let streams = [
            "dynamodb:DescribeStream",
            "dynamodb:GetShardIterator",
            "dynamodb:GetRecords",
        ];
        for role in ROLES {
            for statement in crate::statements(role, environment) {
                for action in statement
                    .actions
                    .iter()
                    .filter(|action| !streams.contains(action))
                {
                    let service = action.split(':').next().expect("a service");
                    let passes = !services.contains(service) || through.contains(action);
                    assert!(
                        passes,
                        "{} {}: no endpoint lets {action} through",
                        role.slug, statement.because
                    );
                }
            }
        }
        for service in [
            "dynamodb",
            "ecr",
            "events",
            "kms",
            "logs",
            "s3",
            "secretsmanager",
            "sns",
            "sqs",
            "ssm",
        ] {
            assert!(services.contains(service), "{service}");
        }
    }

    #[test]
    fn no_endpoint_carries_data_out_with_keys_of_another_account() {
        for environment in environments() {
            let template = network(&environment).into_json();
            for (name, endpoint) in resources(&template, "AWS::EC2::VPCEndpoint") {
                assert!(
                    actions(&endpoint["PolicyDocument"])
                        .iter()
                        .all(|action| !action.contains('*')),
                    "{name}"
                );
                for statement in endpoint["PolicyDocument"]["Statement"]
                    .as_array()
                    .expect("statements")
                {
                    let own = statement["Condition"]["StringEquals"]["aws:PrincipalAccount"]["Ref"]
                        == "AWS::AccountId";
                    // Layers are read with URLs that ECR has signed.
                    let layers = statement["Action"] == "s3:GetObject"
                        && statement["Resource"]
                            .to_string()
                            .contains("-starport-layer-bucket/*");
                    assert!(own || layers, "{name}: {statement}");
                }
            }
        }
    }
}
