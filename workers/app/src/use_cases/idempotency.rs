//! Idempotency keys, with which an order is placed once. Keys belong to a tenant: the same text of
//! another tenant is another key.

use domain::ids::TenantId;

use crate::location::FIRST_TENANT;
use crate::ports::StoreError;
use crate::ports::orders::{KeyUse, OrderStore};
use crate::ports::scope::Scope;

/// Returns the hash under which a tenant's key is stored. `digest` returns the SHA-256 in
/// hexadecimal.
///
/// Keys of the first tenant are hashed without the tenant, because external programs look up an
/// order by the SHA-256 of its key in a view of the database. For other tenants, a zero character
/// separates tenant and key. Keys contain no zero character, so such a hash input never equals a
/// key alone.
pub fn key_hash(tenant_id: &TenantId, key: &str, digest: fn(&[u8]) -> String) -> String {
    if tenant_id.as_str() == FIRST_TENANT {
        return digest(key.as_bytes());
    }
    digest(format!("{tenant_id}\0{key}").as_bytes())
}

/// Returns the first use of a tenant's key. Hashes from before the release that includes the tenant
/// are found too.
///
/// # Errors
/// [`StoreError`] when the orders cannot be read.
pub async fn key_use(
    orders: &impl OrderStore,
    scope: &Scope,
    tenant_id: &TenantId,
    key: &str,
    digest: fn(&[u8]) -> String,
) -> Result<Option<KeyUse>, StoreError> {
    let (hash, hash_before) = (key_hash(tenant_id, key, digest), digest(key.as_bytes()));
    match orders.key_use(scope, &hash).await? {
        None if hash != hash_before => orders.key_use(scope, &hash_before).await,
        used => Ok(used),
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::fakes::orders::MemoryOrders;
    use crate::laws::orders::new_order;
    use crate::laws::scope::shops;
    use crate::location::Location;
    use crate::ports::orders::{NewOrder, Placement};

    fn digest(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace('\0', "/")
    }

    #[test]
    fn two_tenants_can_use_one_key_and_old_keys_are_still_found() {
        let store = MemoryOrders::default();
        let [home, _, other, _] = shops();
        let place = |shop: &Location, key_hash: &str| {
            let mut new = NewOrder {
                key_hash: key_hash.to_owned(),
                ..new_order()
            };
            (new.order.tenant_id, new.order.location_id) =
                (shop.tenant_id.clone(), shop.location_id.clone());
            assert_eq!(
                block_on(store.place(std::slice::from_ref(&new))),
                [Ok(Placement::Placed)],
                "{key_hash}"
            );
            new.order.order_id
        };
        let used = |shop: &Location, key: &str| {
            let scope = Scope::of(shop);
            let used = block_on(key_use(&store, &scope, &shop.tenant_id, key, digest));
            used.expect("read").map(|used| used.order_id)
        };
        assert_eq!(
            key_hash(&home.tenant_id, "k-1", digest),
            "k-1",
            "as outsiders compute it"
        );
        let ours = place(&home, &key_hash(&home.tenant_id, "k-1", digest));
        assert_eq!(
            used(&other, "k-1"),
            None,
            "it says nothing to another tenant"
        );
        let theirs = place(&other, &key_hash(&other.tenant_id, "k-1", digest));
        assert_eq!(
            (used(&home, "k-1"), used(&other, "k-1")),
            (Some(ours), Some(theirs))
        );
        let before = place(&other, "k-2");
        assert_eq!(
            (used(&home, "k-2"), used(&other, "k-2")),
            (None, Some(before))
        );
    }
}
