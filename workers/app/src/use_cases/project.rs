//! Writes order views, for the projection worker.
//!
//! An event only reports that an order changed. The view is written from the order itself, with its
//! version. Duplicate, late and reordered events therefore do no harm, and the whole view can be
//! rebuilt from the orders.

use contract::messages::Envelope;

use super::{Handled, load};
use crate::ports::orders::{OrderFilter, OrderStore};
use crate::ports::scope::Scope;
use crate::ports::views::{OrderView, OrderViews};
use crate::ports::{PortFuture, StoreError};

/// Writes order views. The implementation of the worker combines the views of concurrent messages
/// into one call (group commit).
pub trait Show: Sync {
    /// Writes one view.
    fn show_one(&self, view: OrderView) -> impl PortFuture<()>;
}

/// Handles one message of the `projections` queue.
pub async fn project<O: OrderStore, V: Show>(
    orders: &O,
    views: &V,
    envelope: &Envelope,
) -> Handled {
    let Some(order_id) = envelope.order_id else {
        return Handled::park("no order id in a message about an order");
    };
    let stored = match load(orders, order_id).await {
        Ok(stored) => stored,
        Err(handled) => return handled,
    };
    match views.show_one(OrderView::of(&stored)).await {
        Ok(()) => Handled::done(),
        Err(error) => error.into(),
    }
}

/// Writes the views of all orders and returns their number. The function can run beside the worker,
/// and again after an interruption.
///
/// # Errors
/// [`StoreError`] when the orders cannot be read or a view cannot be written.
pub async fn reproject(
    orders: &impl OrderStore,
    views: &impl OrderViews,
) -> Result<u64, StoreError> {
    const PAGE: u32 = 100;
    let mut shown = 0;
    let mut filter = OrderFilter {
        limit: PAGE,
        ..OrderFilter::default()
    };
    loop {
        let page = orders.list_stored(&Scope::Everything, &filter).await?;
        let of_page: Vec<_> = page.iter().map(OrderView::of).collect();
        for done in views.show(&of_page).await {
            done?;
            shown += 1;
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => filter.before = Some(last.order.order_id),
            _ => return Ok(shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::EventId;
    use domain::saga::State;
    use futures::executor::block_on;
    use uuid::Uuid;

    use super::*;
    use crate::fakes::orders::MemoryOrders;
    use crate::fakes::views::MemoryViews;
    use crate::laws::orders::{new_order, step};
    use crate::ports::views::OrderViewReader as _;

    #[test]
    fn the_order_view_is_rebuilt_from_the_orders() {
        block_on(async {
            let (store, views) = (MemoryOrders::default(), MemoryViews::default());
            let new = new_order();
            store
                .place(std::slice::from_ref(&new))
                .await
                .pop()
                .expect("an answer")
                .expect("placed");
            let session = new.session_hash.clone().expect("a session");
            assert_eq!(
                project(&store, &views, &new.outbox[1]).await,
                Handled::done()
            );
            store
                .apply(&[step(&new, 1, State::Confirmed)])
                .await
                .pop()
                .expect("an answer")
                .expect("applied");
            // The same event again, and one that is older than the view. Only the order itself
            // counts.
            let again = Envelope {
                event_id: EventId(Uuid::now_v7()),
                ..new.outbox[1].clone()
            };
            assert_eq!(project(&store, &views, &again).await, Handled::done());
            let shown = views
                .of_session(&Scope::Everything, &session, 10, None)
                .await
                .expect("read");
            assert_eq!(
                (shown.len(), shown[0].version, shown[0].status.as_str()),
                (1, 2, "confirmed")
            );

            let fresh = MemoryViews::default();
            assert_eq!(reproject(&store, &fresh).await, Ok(1));
            assert_eq!(
                fresh
                    .of_session(&Scope::Everything, &session, 10, None)
                    .await
                    .expect("read"),
                shown
            );
        });
    }

    #[test]
    fn a_message_about_an_order_that_does_not_exist_is_a_dead_letter() {
        block_on(async {
            let handled = project(
                &MemoryOrders::default(),
                &MemoryViews::default(),
                &new_order().outbox[1],
            )
            .await;
            assert!(matches!(
                handled.settlement,
                contract::settlement::Settlement::Park { .. }
            ));
        });
    }
}
