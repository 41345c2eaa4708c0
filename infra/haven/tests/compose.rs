//! `localstack/compose.yaml`: who can reach the servers that it starts.

const COMPOSE: &str = include_str!("../../../localstack/compose.yaml");

/// The lines of one service.
fn service(name: &str) -> Vec<&'static str> {
    let mut lines = COMPOSE
        .lines()
        .skip_while(|line| *line != format!("  {name}:"));
    assert!(lines.next().is_some(), "{name} is not in the file");
    lines
        .take_while(|line| line.is_empty() || line.starts_with("   "))
        .collect()
}

#[test]
fn compose_servers_require_a_password_without_a_default() {
    let passwords = [
        ("postgres", "POSTGRES_PASSWORD"),
        ("redis", "REDIS_PASSWORD"),
    ];
    for (name, variable) in passwords {
        let required = format!("{variable}: ${{{variable}:?");
        assert!(
            service(name)
                .iter()
                .any(|line| line.trim().starts_with(&required)),
            "{name}"
        );
    }
    let named = COMPOSE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    for line in named.filter(|line| line.contains("PASSWORD")) {
        assert!(
            line.contains(":?"),
            "a password in the file, or a default: {line}"
        );
    }
}

#[test]
fn a_server_open_to_every_account_needs_an_explicit_profile() {
    for name in ["ministack", "localstack"] {
        let profiles: Vec<_> = service(name)
            .into_iter()
            .filter(|line| line.trim().starts_with("profiles:"))
            .collect();
        assert!(
            profiles.len() == 1 && profiles[0].contains("for-every-account"),
            "{name}: {profiles:?}"
        );
    }
    let ports: Vec<_> = COMPOSE
        .lines()
        .filter(|line| line.trim().starts_with("ports:"))
        .collect();
    assert_eq!(ports.len(), 4);
    assert!(
        ports.iter().all(|line| line.contains("[\"127.0.0.1:")),
        "{ports:?}"
    );
}
