//! In-memory order views.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::ids::OrderId;

use crate::ports::scope::Scope;
use crate::ports::views::{OrderView, OrderViewReader, OrderViews};
use crate::ports::{Backend, StoreError};
use crate::use_cases::project::Show;

/// An in-memory implementation of [`OrderViews`].
#[derive(Default)]
pub struct MemoryViews(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    views: BTreeMap<OrderId, OrderView>,
    out_of_reach: bool,
    silent: bool,
}

impl MemoryViews {
    /// Makes later calls fail while `out_of_reach` is true.
    pub fn set_out_of_reach(&self, out_of_reach: bool) {
        self.shown().out_of_reach = out_of_reach;
    }

    /// Makes later reads of a session's orders hang while `silent` is true, as if the table did.
    pub fn set_silent(&self, silent: bool) {
        self.shown().silent = silent;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrderViews for MemoryViews {
    async fn show(&self, views: &[OrderView]) -> Vec<Result<(), StoreError>> {
        let mut shown = self.shown();
        let show = |view: &OrderView| {
            if shown.out_of_reach {
                return Err(StoreError::new(Backend::OrderView, "it is out of reach"));
            }
            let kept = shown
                .views
                .entry(view.order_id)
                .or_insert_with(|| view.clone());
            if kept.version < view.version {
                kept.clone_from(view);
            }
            Ok(())
        };
        views.iter().map(show).collect()
    }

    async fn shown_version(&self, order_id: OrderId) -> Result<Option<i64>, StoreError> {
        let shown = self.shown();
        if shown.out_of_reach {
            return Err(StoreError::new(Backend::OrderView, "it is out of reach"));
        }
        Ok(shown.views.get(&order_id).map(|view| view.version))
    }
}

impl OrderViewReader for MemoryViews {
    async fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> Result<Vec<OrderView>, StoreError> {
        if self.shown().silent {
            std::future::pending::<()>().await;
        }
        let shown = self.shown();
        if shown.out_of_reach {
            return Err(StoreError::new(Backend::OrderView, "it is out of reach"));
        }
        // A UUIDv7 sorts by time, so the greatest id is the newest order.
        let of_session = shown.views.values().rev().filter(|view| {
            view.is_in(scope)
                && view.session_hash.as_deref() == Some(session_hash)
                && before.is_none_or(|before| view.order_id < before)
        });
        Ok(of_session.take(limit as usize).cloned().collect())
    }
}

impl Show for MemoryViews {
    async fn show_one(&self, view: OrderView) -> Result<(), StoreError> {
        self.show(&[view]).await.pop().unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;

    #[test]
    fn the_adapter_passes_the_laws_of_the_order_view() {
        futures::executor::block_on(laws::views::all(&MemoryViews::default()));
    }
}
