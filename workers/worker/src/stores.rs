//! The stores that the configuration asks for, behind one type each.

use std::time::Duration;

use adapter_memory::MemoryCarts;
use adapter_postgres::{ConnectError, Login, PostgresStore};
use adapter_redis::RedisCarts;
use adapter_sqlite::SqliteStore;
use app::location::Location;
use app::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};
use app::ports::carts::{Cart, CartError, CartStore};
use app::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Ticket};
use app::ports::journey::{JourneyStore, NoticeRecord, Records, TakenIn};
use app::ports::locations::LocationStore;
use app::ports::notices::{Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState, NoticeStore};
use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OrderFilter, OrderStore, OutboxRow, Outgoing, Payment,
    PaymentBooks, PaymentKind, Placement, StoredOrder,
};
use app::ports::redrives::{Redrive, RedriveEnd, RedriveLog};
use app::ports::scope::Scope;
use app::ports::stock_watch::{Seen, StockWatch};
use app::ports::{Source, Unavailable};
use chassis::Breaker;
use contract::cause::chain;
use contract::event::EventKind;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::channel::Channel;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, ProductId, TenantId};
use domain::order::HistoryEntry;
use time::Date;
use uuid::Uuid;

use crate::config::CacheConfig;
use crate::renewal::Renewal;

/// Connections of one process. Nine processes with eight each stay well below PostgreSQL's default
/// of 100.
const CONNECTIONS_MAX: u32 = 8;

/// Orders, in PostgreSQL or in SQLite.
#[derive(Clone)]
pub struct Store {
    kind: Kind,
    breaker: Option<Breaker>,
    renewal: Option<Renewal<Login>>,
}

#[derive(Clone)]
enum Kind {
    Postgres(PostgresStore),
    Sqlite(SqliteStore),
}

impl Store {
    /// # Errors
    /// When the URL is of another kind, or the database cannot be reached or refuses us.
    pub async fn connect(database_url: &str, login: &Login) -> Result<Store, ConnectError> {
        if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
            return Ok(Store::of(Kind::Postgres(
                PostgresStore::connect_as(database_url, login, CONNECTIONS_MAX).await?,
            )));
        }
        if database_url.starts_with("sqlite:") {
            return Ok(Store::of(Kind::Sqlite(
                SqliteStore::connect(database_url).await?,
            )));
        }
        Err(ConnectError::BadUrl(
            "it must begin with postgres:// or sqlite://".to_owned(),
        ))
    }

    fn of(kind: Kind) -> Store {
        Store {
            kind,
            breaker: None,
            renewal: None,
        }
    }

    /// The outcome of each call is told to the breaker.
    #[must_use]
    pub fn reporting_to(self, breaker: Option<&Breaker>) -> Store {
        Store {
            breaker: breaker.cloned(),
            ..self
        }
    }

    /// A login that is refused is read again, and the call made again with that.
    #[must_use]
    pub fn renewing(self, renewal: Option<Renewal<Login>>) -> Store {
        Store { renewal, ..self }
    }

    /// Whether the database would let a new connection in, if need be with a login that is read
    /// again. A file always does.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn check_login(&self) -> Result<(), ConnectError> {
        let Kind::Postgres(store) = &self.kind else {
            return Ok(());
        };
        let refused = match store.check_login().await {
            Err(refused @ ConnectError::LoginRefused { .. }) => refused,
            otherwise => return otherwise,
        };
        if self.renew().await {
            Ok(())
        } else {
            Err(refused)
        }
    }

    async fn renew(&self) -> bool {
        match (&self.kind, &self.renewal) {
            (Kind::Postgres(store), Some(renewal)) => renewal.renew(store).await,
            _ => false,
        }
    }

    fn report(&self, answer: &impl Answer) {
        match (&self.breaker, answer.outcome()) {
            (Some(breaker), Some(Ok(()))) => breaker.success(),
            (Some(breaker), Some(Err(error))) => breaker.failure(&chain(error).to_string()),
            _ => {}
        }
    }
}

/// What a call says about the database.
trait Answer {
    /// `None` when it says nothing.
    fn outcome(&self) -> Option<Result<(), &Unavailable>>;
}

impl<T> Answer for Result<T, Unavailable> {
    fn outcome(&self) -> Option<Result<(), &Unavailable>> {
        Some(self.as_ref().map(|_| ()))
    }
}

/// One that went well shows that the database is there.
impl<T> Answer for Vec<Result<T, Unavailable>> {
    fn outcome(&self) -> Option<Result<(), &Unavailable>> {
        let failed = self.iter().find_map(|one| one.as_ref().err());
        match failed {
            Some(error) if self.iter().all(Result::is_err) => Some(Err(error)),
            _ => Some(Ok(())),
        }
    }
}

impl Answer for () {
    fn outcome(&self) -> Option<Result<(), &Unavailable>> {
        None
    }
}

fn login_was_refused(answer: &impl Answer) -> bool {
    matches!(
        answer.outcome(),
        Some(Err(Unavailable::LoginRefused { .. }))
    )
}

/// A call, once more if the login was refused (then nothing was done) and renewed.
macro_rules! renewing {
    ($self:ident, $refused:ident, $call:expr) => {{
        let mut renewed = false;
        loop {
            let answer = $call;
            if renewed || !$refused(&answer) || !$self.renew().await {
                break answer;
            }
            renewed = true;
        }
    }};
}

/// The same method on whichever store it is, and the outcome told to the breaker.
macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {{
        let answer = renewing!(
            $self,
            login_was_refused,
            match &$self.kind {
                Kind::Postgres($store) => $call.await,
                Kind::Sqlite($store) => $call.await,
            }
        );
        $self.report(&answer);
        answer
    }};
}

impl OrderStore for Store {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, Unavailable> {
        either!(self, store => store.next_number(tenant, location, day))
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, Unavailable>> {
        either!(self, store => store.place(orders))
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, Unavailable> {
        either!(self, store => store.key_use(scope, key_hash))
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, Unavailable> {
        either!(self, store => store.load(order_id))
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        either!(self, store => store.load_in(scope, order_id))
    }

    async fn newest_with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
    ) -> Result<Option<OrderId>, Unavailable> {
        either!(self, store => store.newest_with_number(scope, number))
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        either!(self, store => store.find_order(scope, order_number, email))
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, Unavailable> {
        either!(self, store => store.history(scope, order_id, after_seq))
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, Unavailable> {
        either!(self, store => store.list_stored(scope, filter))
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, Unavailable> {
        either!(self, store => store.pending_orders(scope))
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, Unavailable> {
        either!(self, store => store.payment(order_id, kind))
    }

    async fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, Unavailable> {
        either!(self, store => store.payment_in(scope, order_id, kind))
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, Unavailable>> {
        either!(self, store => store.apply(changes))
    }

    async fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, Unavailable> {
        either!(self, store => store.take_outbox(which, now, limit))
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), Unavailable> {
        either!(self, store => store.mark_published(ids, at))
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), Unavailable> {
        either!(self, store => store.put_off(rows))
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, Unavailable> {
        either!(self, store => store.oldest_unpublished())
    }

    async fn outbox_changed(&self, at_most: Duration) {
        either!(self, store => store.outbox_changed(at_most))
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, Unavailable> {
        either!(self, store => store.take_due(now, again_at, limit))
    }

    async fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> Result<(), Unavailable> {
        either!(self, store => store.look_again(orders))
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, Unavailable> {
        either!(self, store => store.prune(before, limit))
    }
}

impl PaymentBooks for Store {
    async fn payments(&self, orders: &[OrderId]) -> Result<Vec<Payment>, Unavailable> {
        either!(self, store => store.payments(orders))
    }
}

impl StockWatch for Store {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, Unavailable> {
        either!(self, store => store.seen(product_id))
    }

    async fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> Result<bool, Unavailable> {
        either!(self, store => store.remember(product_id, before, now, alert, at))
    }
}

impl LocationStore for Store {
    async fn locations(&self) -> Result<Vec<Location>, Unavailable> {
        either!(self, store => store.locations())
    }

    async fn taken(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<(Timestamp, u32)>, Unavailable> {
        either!(self, store => store.taken(tenant, location, from, before))
    }
}

impl FulfilmentStore for Store {
    async fn fulfil(&self, fulfilment: &Fulfilment) -> Result<Applied, Unavailable> {
        either!(self, store => store.fulfil(fulfilment))
    }

    async fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> Result<Vec<Ticket>, Unavailable> {
        either!(self, store => store.tickets(scope, orders))
    }

    async fn shipment(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<Shipment>, Unavailable> {
        either!(self, store => store.shipment(scope, order_id))
    }
}

impl NoticeStore for Store {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        either!(self, store => store.begin_notice(notice))
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, Unavailable> {
        either!(self, store => store.end_notice(event_id, channel, end, at))
    }

    async fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> Result<(), Unavailable> {
        either!(self, store => store.give_back_notice(event_id, channel, why))
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, Unavailable> {
        either!(self, store => store.notices(filter))
    }
}

impl JourneyStore for Store {
    async fn records(&self, scope: &Scope, order_id: OrderId) -> Result<Records, Unavailable> {
        either!(self, store => store.records(scope, order_id))
    }

    async fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> Result<Option<TakenIn>, Unavailable> {
        either!(self, store => store.taken_in(consumer, event_id))
    }

    async fn notices_of(&self, event_id: EventId) -> Result<Vec<NoticeRecord>, Unavailable> {
        either!(self, store => store.notices_of(event_id))
    }

    async fn newest_of(&self, kind: EventKind) -> Result<Option<Envelope>, Unavailable> {
        either!(self, store => store.newest_of(kind))
    }
}

impl RedriveLog for Store {
    async fn begin_redrive(&self, redrive: &Redrive) -> Result<(), Unavailable> {
        either!(self, store => store.begin_redrive(redrive))
    }

    async fn end_redrive(
        &self,
        redrive_id: Uuid,
        end: RedriveEnd,
        at: Timestamp,
    ) -> Result<(), Unavailable> {
        either!(self, store => store.end_redrive(redrive_id, end, at))
    }
}

impl StaffTokens for Store {
    async fn record_token(&self, token: &StaffToken) -> Result<(), Unavailable> {
        either!(self, store => store.record_token(token))
    }

    async fn staff_tokens(&self) -> Result<Vec<StaffToken>, Unavailable> {
        either!(self, store => store.staff_tokens())
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Option<StaffToken>, Unavailable> {
        either!(self, store => store.revoke_token(id, at))
    }

    async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<Uuid>, Unavailable> {
        either!(self, store => store.revoked_tokens(now))
    }
}

impl AuditLog for Store {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), Unavailable> {
        either!(self, store => store.append_audit(entry))
    }

    async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        either!(self, store => store.audit_entries(limit))
    }
}

/// Carts, in Redis or in this process.
#[derive(Clone)]
pub enum Carts {
    Memory(std::sync::Arc<MemoryCarts<SystemSource>>),
    Redis(Box<RedisCarts>, Option<Renewal<String>>),
}

impl Carts {
    /// Connects to Redis, or keeps the carts in memory when there is no cache. A password that is
    /// refused is read again where there is a renewal.
    pub async fn connect(
        cache: Option<&CacheConfig>,
        renewal: Option<Renewal<String>>,
    ) -> Result<Carts, Unavailable> {
        match cache {
            Some(cache) => {
                let password = cache.password.as_ref();
                let password = password.map(|password| password.expose().as_str());
                let carts = RedisCarts::connect_as(cache.url.expose(), password).await?;
                Ok(Carts::Redis(Box::new(carts), renewal))
            }
            None => Ok(Carts::Memory(std::sync::Arc::new(MemoryCarts::new(
                SystemSource,
            )))),
        }
    }

    /// Counts in the store that all storefronts share, where there is one and it answers.
    pub async fn count(&self, key: &str, window: Duration) -> Option<u64> {
        match self {
            Carts::Memory(_) => None,
            Carts::Redis(carts, _) => carts.count(key, window).await.ok(),
        }
    }

    async fn renew(&self) -> bool {
        match self {
            Carts::Redis(carts, Some(renewal)) => renewal.renew(&**carts).await,
            _ => false,
        }
    }
}

/// Whether the cache refused our password: then nothing was done.
fn password_was_refused<T, E: Clone + Into<CartError>>(answer: &Result<T, E>) -> bool {
    let refused = answer.as_ref().err().cloned().map(Into::into);
    matches!(
        refused,
        Some(CartError::Unavailable(Unavailable::LoginRefused { .. }))
    )
}

macro_rules! either_cart {
    ($self:ident, $carts:ident => $call:expr) => {
        renewing!(
            $self,
            password_was_refused,
            match $self {
                Carts::Memory($carts) => $call.await,
                Carts::Redis($carts, _) => $call.await,
            }
        )
    };
}

impl CartStore for Carts {
    async fn get(&self, session: &str) -> Result<Cart, Unavailable> {
        either_cart!(self, carts => carts.get(session))
    }

    async fn add(&self, session: &str, line: &Line, price_minor: i64) -> Result<Cart, CartError> {
        either_cart!(self, carts => carts.add(session, line, price_minor))
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Cart>, Unavailable> {
        either_cart!(self, carts => carts.set(session, product_id, quantity))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, Unavailable> {
        either_cart!(self, carts => carts.remove(session, product_id))
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), Unavailable> {
        either_cart!(self, carts => carts.take_out(session, ordered))
    }

    async fn clear(&self, session: &str) -> Result<(), Unavailable> {
        either_cart!(self, carts => carts.clear(session))
    }
}

/// The machine's clock, and UUIDs of the system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSource;

impl Source for SystemSource {
    fn now(&self) -> Timestamp {
        // Databases keep microseconds: what is written is read back equal.
        let now = Timestamp::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
            .unwrap_or(now)
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
