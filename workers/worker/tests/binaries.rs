//! Starts the binary of each role as its container does.

use std::process::Command;

use contract::role::{ROLES, Role};

fn binary(role: &Role) -> &'static str {
    match role.slug {
        "storefront" => env!("CARGO_BIN_EXE_storefront"),
        "outbox-relay" => env!("CARGO_BIN_EXE_outbox-relay"),
        "order-worker" => env!("CARGO_BIN_EXE_order-worker"),
        "payment-worker" => env!("CARGO_BIN_EXE_payment-worker"),
        "inventory-worker" => env!("CARGO_BIN_EXE_inventory-worker"),
        "fulfilment-worker" => env!("CARGO_BIN_EXE_fulfilment-worker"),
        "notification-worker" => env!("CARGO_BIN_EXE_notification-worker"),
        "projection-worker" => env!("CARGO_BIN_EXE_projection-worker"),
        "sweeper" => env!("CARGO_BIN_EXE_sweeper"),
        other => panic!("{other} has no binary"),
    }
}

#[test]
fn a_binary_without_settings_names_each_and_exits_with_64() {
    for role in ROLES {
        let ended = Command::new(binary(role))
            .env_clear()
            .output()
            .expect("the binary starts");
        let message = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{}: {message}", role.slug);
        assert!(
            message.contains(role.slug) && message.contains("HAVEN_ENV"),
            "{}: {message}",
            role.slug
        );
        for address in role.addresses() {
            assert!(
                message.contains(&address.variable()),
                "{}: {message}",
                role.slug
            );
        }
    }
}
