//! The order view in DynamoDB: one item per order, replaced only by a newer version.

use std::collections::HashMap;

use app::ports::scope::Scope;
use app::ports::views::{OrderView, OrderViewReader, OrderViews, SHOWN, ViewItem};
use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;
use contract::cause::BoxError;
use contract::table::BY_SESSION;
use domain::ids::OrderId;
use domain::text::{printable, shown};

use crate::Clients;
use crate::items::{Item, get_number, get_text, item_of, number, text};
use crate::tables::{ReadTable, Readable, WriteTable};

/// Orders in one transaction. DynamoDB accepts at most 100 actions.
const AT_ONCE: usize = 50;
/// The condition that the item is new, or older than the version to write.
const NEWER: &str = "attribute_not_exists(order_id) OR version < :version";

/// Reads the order view. Writes it, unless `T` is a table that can only be read.
#[derive(Clone)]
pub struct DynamoViews<T = WriteTable> {
    client: Client,
    table: T,
}

/// Reads the order view, for a role that must not write it.
pub type DynamoViewReader = DynamoViews<ReadTable>;

fn unavailable(why: impl Into<BoxError>) -> StoreError {
    StoreError::new(Backend::OrderView, why)
}

impl<T: Readable> DynamoViews<T> {
    /// Creates a store of order views that uses a table.
    pub fn new(clients: &Clients, table: T) -> DynamoViews<T> {
        DynamoViews {
            client: clients.dynamodb(),
            table,
        }
    }
}

impl DynamoViews {
    async fn show_alone(&self, view: &OrderView) -> Result<(), StoreError> {
        let put = self
            .table
            .put_item(&self.client)
            .set_item(Some(item(view)?));
        let put = put
            .condition_expression(NEWER)
            .expression_attribute_values(":version", number(view.version));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // The stored version is as new or newer.
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(unavailable(crate::cause(error))),
            },
        }
    }

    /// Writes the views of different orders in one transaction. Orders that already have a newer
    /// version are left out of a second transaction. Returns false when the second one was refused
    /// too; then the caller writes each view separately.
    async fn show_together(&self, views: &[&OrderView]) -> Result<bool, StoreError> {
        let mut left: Vec<&OrderView> = views.to_vec();
        for _ in 0..2 {
            if left.is_empty() {
                return Ok(true);
            }
            let actions = left
                .iter()
                .map(|view| self.action(view))
                .collect::<Result<Vec<_>, _>>()?;
            let Err(error) = self
                .client
                .transact_write_items()
                .set_transact_items(Some(actions))
                .send()
                .await
            else {
                return Ok(true);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(unavailable(crate::cause(error)));
            };
            let newer = |index: usize| {
                let reason = cancelled.cancellation_reasons().get(index);
                reason.is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed"))
            };
            let before = left.len();
            left = left
                .iter()
                .enumerate()
                .filter(|(index, _)| !newer(*index))
                .map(|(_, view)| *view)
                .collect();
            if left.len() == before {
                return Ok(false);
            }
        }
        Ok(left.is_empty())
    }

    fn action(&self, view: &OrderView) -> Result<TransactWriteItem, StoreError> {
        let put = self
            .table
            .put()
            .set_item(Some(item(view)?))
            .condition_expression(NEWER)
            .expression_attribute_values(":version", number(view.version));
        Ok(TransactWriteItem::builder()
            .put(put.build().map_err(unavailable)?)
            .build())
    }
}

impl OrderViews for DynamoViews {
    async fn show(&self, views: &[OrderView]) -> Vec<Result<(), StoreError>> {
        // Only the newest version of each order, because a transaction may name an item only once.
        let mut newest: HashMap<OrderId, &OrderView> = HashMap::with_capacity(views.len());
        for view in views {
            let kept = newest.entry(view.order_id).or_insert(view);
            if kept.version < view.version {
                *kept = view;
            }
        }
        let newest: Vec<&OrderView> = newest.into_values().collect();
        let mut failed: HashMap<OrderId, StoreError> = HashMap::new();
        for some in newest.chunks(AT_ONCE) {
            let together = match some {
                [_] => Ok(false),
                _ => self.show_together(some).await,
            };
            match together {
                Ok(true) => {}
                Ok(false) => {
                    for view in some {
                        if let Err(error) = self.show_alone(view).await {
                            failed.insert(view.order_id, error);
                        }
                    }
                }
                Err(error) => failed.extend(some.iter().map(|view| (view.order_id, error.clone()))),
            }
        }
        views
            .iter()
            .map(|view| failed.get(&view.order_id).cloned().map_or(Ok(()), Err))
            .collect()
    }

    async fn shown_version(&self, order_id: OrderId) -> Result<Option<i64>, StoreError> {
        let get = self
            .table
            .as_read()
            .get_item(&self.client)
            .key("order_id", text(order_id.to_string()));
        // A consistent read, because the caller has just waited for the worker to write this
        // version.
        let got = get
            .consistent_read(true)
            .projection_expression("version")
            .send()
            .await;
        let item = got.map_err(|error| unavailable(crate::cause(error)))?.item;
        item.map(|item| {
            get_number(&item, "version").ok_or_else(|| unavailable("an item has no version"))
        })
        .transpose()
    }
}

impl<T: Readable> OrderViewReader for DynamoViews<T> {
    async fn of_session(
        &self,
        scope: &Scope,
        session_hash: &str,
        limit: u32,
        before: Option<OrderId>,
    ) -> Result<Vec<OrderView>, StoreError> {
        let mut query = self
            .table
            .as_read()
            .query(&self.client)
            .index_name(BY_SESSION.name)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .expression_attribute_values(":session", text(session_hash));
        query = match before {
            Some(before) => query
                .key_condition_expression("session_hash = :session AND order_id < :before")
                .expression_attribute_values(":before", text(before.to_string())),
            None => query.key_condition_expression("session_hash = :session"),
        };
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut views = Vec::new();
        // The limit counts orders in scope. A browser may have ordered in other shops in between,
        // so a page can have fewer.
        let mut from: Option<Item> = None;
        while views.len() < wanted {
            let page = query.clone().set_exclusive_start_key(from).send().await;
            let page = page.map_err(|error| unavailable(crate::cause(error)))?;
            for view in page.items().iter().map(read) {
                let view = view?;
                if view.is_in(scope) {
                    views.push(view);
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        views.truncate(wanted);
        Ok(views)
    }
}

fn item(view: &OrderView) -> Result<Item, StoreError> {
    let json = serde_json::to_string(view).map_err(unavailable)?;
    let forget_at = (view.created_at + SHOWN).unix_timestamp();
    let mut item = item_of([
        ("order_id", text(view.order_id.to_string())),
        ("version", number(view.version)),
        ("status", text(&view.status)),
        ("forget_at", number(forget_at)),
        ("view", text(json)),
    ]);
    if let Some(tenant_id) = &view.tenant_id {
        item.insert("tenant_id".to_owned(), text(tenant_id));
    }
    if let Some(session_hash) = &view.session_hash {
        item.insert("session_hash".to_owned(), text(session_hash));
    }
    Ok(item)
}

fn read(item: &Item) -> Result<OrderView, StoreError> {
    let json = get_text(item, "view").ok_or_else(|| unavailable("an item has no view"))?;
    let view: OrderView = serde_json::from_str(&json).map_err(unavailable)?;
    let name = |item: ViewItem| ViewItem {
        name: printable(&item.name),
        ..item
    };
    Ok(OrderView {
        items: view.items.into_iter().map(name).collect(),
        session_hash: get_text(item, "session_hash"),
        tenant_id: get_text(item, "tenant_id"),
        reason: view.reason.map(shown),
        ..view
    })
}
