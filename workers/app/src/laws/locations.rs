//! Laws about the rows of locations, which people edit by hand. They need their own migrated
//! database.

use domain::money::TaxRate;

use super::scope::OTHER_LOCATION;
use crate::location::Location;
use crate::ports::locations::LocationStore;

/// Runs all laws. `execute` runs a statement on the database of the store.
pub async fn all(store: &impl LocationStore, execute: impl AsyncFn(String)) {
    a_tax_rate_in_one_unit_is_used(store, &execute).await;
    a_location_with_an_invalid_row_affects_no_other(store, &execute).await;
}

async fn shops(store: &impl LocationStore) -> Vec<Location> {
    store.locations().await.expect("read")
}

async fn a_tax_rate_in_one_unit_is_used(
    store: &impl LocationStore,
    execute: &impl AsyncFn(String),
) {
    for (set, millionths) in [
        // A column that is set alone determines the rate, whatever the other one contained.
        ("tax_rate_millionths = 45000", 45_000),
        ("tax_basis_points = 1250", 125_000),
        ("tax_rate_millionths = 88750", 88_750),
        // `haven` sets both columns.
        (
            "tax_rate_millionths = 72549, tax_basis_points = 725",
            72_549,
        ),
        (
            "tax_rate_millionths = 88750, tax_basis_points = 725",
            88_750,
        ),
        // The basis points of the rate, rounded by us and truncated by a person.
        ("tax_basis_points = 888", 88_750),
        ("tax_basis_points = 887", 88_700),
        // Rows from before the column with millionths.
        ("tax_rate_millionths = NULL", 88_700),
        ("tax_basis_points = 500", 50_000),
        ("name = 'Another name'", 50_000),
    ] {
        execute(format!(
            "UPDATE locations SET {set} WHERE location_id = 'main-street'"
        ))
        .await;
        assert_eq!(
            shops(store).await[0].tax,
            TaxRate::of_millionths(millionths),
            "{set}"
        );
    }
    execute(
        "INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points, tax_rate_millionths)
        VALUES ('brew-haven', 'kiosk', 'Kiosk', 'USD', 0, 66250)"
            .to_owned(),
    )
    .await;
    let kiosk = shops(store)
        .await
        .into_iter()
        .find(|shop| shop.location_id.as_str() == "kiosk")
        .expect("read");
    assert_eq!(kiosk.tax, TaxRate::of_millionths(66_250));
}

async fn a_location_with_an_invalid_row_affects_no_other(
    store: &impl LocationStore,
    execute: &impl AsyncFn(String),
) {
    let ids = async || {
        shops(store)
            .await
            .into_iter()
            .map(|shop| shop.location_id.to_string())
            .collect::<Vec<_>>()
    };
    execute(format!(
        "INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points)
        VALUES ('brew-haven', '{OTHER_LOCATION}', 'Another shop', 'USD', 888)"
    ))
    .await;
    let all = ids().await;
    let others: Vec<_> = all
        .iter()
        .filter(|id| *id != OTHER_LOCATION)
        .cloned()
        .collect();
    assert_eq!(all.len(), others.len() + 1);
    for (wrong, right) in [
        ("tax_basis_points = 6000", "tax_basis_points = 888"),
        ("time_zone = 'Mars/Olympus'", "time_zone = 'Europe/Berlin'"),
        ("country = 'XX'", "country = 'DE'"),
        ("currency = 'JPY'", "currency = 'USD'"),
    ] {
        let set =
            |to: &str| format!("UPDATE locations SET {to} WHERE location_id = '{OTHER_LOCATION}'");
        execute(set(wrong)).await;
        assert_eq!(ids().await, others, "{wrong}");
        execute(set(right)).await;
        assert_eq!(ids().await, all, "{right}");
    }
}
