//! Stores carts in Redis: one hash per session from product to quantity, and a second hash with the
//! prices that the customer saw. Lua scripts enforce the limits and the expiry, because Redis runs
//! a script atomically: two tabs cannot exceed a limit together. The rate-limit counters of clients
//! are in the same server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::carts::{CART_LIFETIME, Cart, CartError, CartStore};
use app::ports::{Backend, StoreError};
use chassis::renewal::{Check, Guarded, Renewal};
use domain::FieldError;
use domain::cart::{LINES_MAX, Line, Lines, Quantity};
use domain::ids::ProductId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    AsyncCommands as _, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError, Script,
    ScriptInvocation, ServerErrorKind,
};

/// Time limit of one response. Redis responds in well under a millisecond, and a page waits for it.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// Time limit of one attempt to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Time limit of one call, with connecting and retries.
const CALL_WITHIN: Duration = Duration::from_millis(500);
/// Retries of a connection attempt before waiting calls fail. The next call starts again.
const CONNECT_RETRIES: usize = 2;
/// Pause before the first retry; the second pause is twice as long. Both fit into [`CALL_WITHIN`],
/// jitter included, so that a call can report why the connection failed.
const BETWEEN_CONNECTS: Duration = Duration::from_millis(50);

/// A cart store on a Redis server. Cheap to clone.
#[derive(Clone)]
pub struct RedisCarts {
    /// Shared by all clones.
    link: Arc<Mutex<Link>>,
    renewal: Option<Renewal<String>>,
    get: Script,
    add: Script,
    set: Script,
    remove: Script,
    take_out: Script,
    count: Script,
}

struct Link {
    /// Address and password of the server.
    info: ConnectionInfo,
    /// Connection with the password in `info`; replaced if it is stale.
    connection: ConnectionManager,
}

/// Beginning of every cart script. KEYS[1] is the cart, KEYS[2] the prices that were seen. ARGV[1]
/// is the maximum quantity of a product, ARGV[2] the maximum number of products, ARGV[3] the
/// seconds until a cart expires. A value that is not a valid cart is deleted, and the customer
/// starts with an empty one. `reply` returns a word, the cart and the prices.
const AROUND: &str = r"
local cart, seen, most, products, lifetime = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local function is_cart()
  local kind = redis.call('TYPE', cart).ok
  if kind == 'none' then return true end
  if kind ~= 'hash' or redis.call('HLEN', cart) > products then return false end
  local flat = redis.call('HGETALL', cart)
  for i = 1, #flat, 2 do
    local count = tonumber(flat[i + 1])
    if not string.match(flat[i], '^[a-z0-9-]+$') or #flat[i] > 40 then return false end
    if not string.match(flat[i + 1], '^[1-9]%d*$') or count < 1 or count > most then return false end
  end
  return true
end
local function is_seen()
  local kind = redis.call('TYPE', seen).ok
  return kind == 'none' or (kind == 'hash' and redis.call('HLEN', seen) <= products)
end
local function reply(word)
  if word == 'changed' then
    redis.call('EXPIRE', cart, lifetime)
    redis.call('EXPIRE', seen, lifetime)
  end
  return {word, redis.call('HGETALL', cart), redis.call('HGETALL', seen)}
end
if not is_cart() then redis.call('DEL', cart) end
if redis.call('EXISTS', cart) == 0 or not is_seen() then redis.call('DEL', seen) end
";

/// Returns the cart. The expiry of a valid cart does not change.
const GET: &str = "return reply('there')";

/// Adds ARGV[5] units of product ARGV[4], whose price was ARGV[6].
const ADD: &str = r"
local there = tonumber(redis.call('HGET', cart, ARGV[4]) or '0')
if there + tonumber(ARGV[5]) > most then return reply('quantity') end
if there == 0 and redis.call('HLEN', cart) >= products then return reply('lines') end
redis.call('HINCRBY', cart, ARGV[4], ARGV[5])
if there == 0 then redis.call('HSET', seen, ARGV[4], ARGV[6]) else redis.call('HSETNX', seen, ARGV[4], ARGV[6]) end
return reply('changed')
";

/// Sets the quantity of product ARGV[4] to ARGV[5] if the cart has the product.
const SET: &str = r"
if redis.call('HEXISTS', cart, ARGV[4]) == 0 then return reply('absent') end
redis.call('HSET', cart, ARGV[4], ARGV[5])
return reply('changed')
";

/// Removes product ARGV[4].
const REMOVE: &str = r"
redis.call('HDEL', cart, ARGV[4])
redis.call('HDEL', seen, ARGV[4])
return reply('changed')
";

/// Subtracts quantities from the cart. From ARGV[4] on, the arguments are pairs of a product and a
/// quantity. A product of which nothing is left is removed.
const TAKE_OUT: &str = r"
for i = 4, #ARGV, 2 do
  local rest = tonumber(redis.call('HGET', cart, ARGV[i]) or '0') - tonumber(ARGV[i + 1])
  if rest > 0 then
    redis.call('HSET', cart, ARGV[i], rest)
  else
    redis.call('HDEL', cart, ARGV[i])
    redis.call('HDEL', seen, ARGV[i])
  end
end
return reply('changed')
";

/// Increments KEYS[1], which expires ARGV[1] seconds after its first increment. One script does
/// both: a counter without an expiry would refuse a client forever.
const COUNT: &str = r"
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
";

impl RedisCarts {
    /// Creates a store for the server at `url`. The first call connects, and calls reconnect after
    /// a loss. The certificate of a `rediss://` server must be signed by a root of this machine.
    ///
    /// # Errors
    /// Returns an error if the URL is not valid.
    pub async fn connect(url: &str) -> Result<RedisCarts, StoreError> {
        RedisCarts::connect_as(url, None).await
    }

    /// Creates a store with a password that is not part of the URL.
    ///
    /// # Errors
    /// Returns an error if the URL is not valid.
    pub async fn connect_as(url: &str, password: Option<&str>) -> Result<RedisCarts, StoreError> {
        let mut info = url.into_connection_info().map_err(unavailable)?;
        if let Some(password) = password {
            info = with_password(info, password);
        }
        let connection = manager(&info).map_err(unavailable)?;
        let link = Arc::new(Mutex::new(Link { info, connection }));
        let script = |verb: &str| Script::new(&format!("{AROUND}{verb}"));
        let (get, add, set, remove) = (script(GET), script(ADD), script(SET), script(REMOVE));
        let take_out = script(TAKE_OUT);
        Ok(RedisCarts {
            link,
            renewal: None,
            get,
            add,
            set,
            remove,
            take_out,
            count: Script::new(COUNT),
        })
    }

    /// Reads the password again when the server refuses it, and repeats a call about a cart with
    /// the new one. A refused call had no effect.
    #[must_use]
    pub fn renewing(self, renewal: Option<Renewal<String>>) -> RedisCarts {
        RedisCarts { renewal, ..self }
    }

    /// Increments the counter `key` and returns its value. The counter restarts `window` after its
    /// first increment.
    ///
    /// # Errors
    /// Returns an error if the server does not respond.
    pub async fn count(&self, key: &str, window: Duration) -> Result<u64, StoreError> {
        let mut call = self.count.key(format!("limit:{key}"));
        call.arg(window.as_secs());
        self.within(call.invoke_async(&mut self.connection())).await
    }

    /// Checks that the server responds.
    ///
    /// # Errors
    /// Returns an error if it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.connection();
        self.within(async { connection.ping().await }).await
    }

    /// Sets the password of later calls. A call that is in flight keeps its connection.
    ///
    /// # Errors
    /// Returns an error if no client can be created with the password.
    pub fn set_password(&self, password: &str) -> Result<(), StoreError> {
        let mut link = self.link();
        let info = with_password(link.info.clone(), password);
        let connection = manager(&info).map_err(unavailable)?;
        *link = Link { info, connection };
        Ok(())
    }

    fn connection(&self) -> ConnectionManager {
        self.link().connection.clone()
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the error was a refused password, and new connections are possible now.
    async fn renewed_after(&self, error: &StoreError) -> bool {
        match (error, &self.renewal) {
            (StoreError::LoginRefused { .. }, Some(renewal)) => renewal.renew(self).await,
            (StoreError::LoginRefused { .. } | StoreError::Unavailable { .. }, _) => false,
        }
    }

    /// Runs a call within [`CALL_WITHIN`], connecting included. A page without the cart's count is
    /// better than a page that waits.
    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(CALL_WITHIN, call).await;
        // The manager reconnects after a connection error. It does not reconnect if the server is
        // silent, or if a failover made the server a replica that refuses writes.
        let stale = match &answer {
            Err(_) => true,
            Ok(Err(error)) => {
                error.is_timeout() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            }
            Ok(Ok(_)) => false,
        };
        if stale {
            let mut link = self.link();
            if let Ok(fresh) = manager(&link.info) {
                link.connection = fresh;
            }
        }
        match answer {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => Err(StoreError::new(
                Backend::Carts,
                format!("no answer within {CALL_WITHIN:?}"),
            )),
        }
    }

    /// Runs a cart script. Returns its word, and the cart after the script.
    async fn run<'a>(
        &self,
        script: &'a Script,
        session: &str,
        arguments: impl FnOnce(&mut ScriptInvocation<'a>),
    ) -> Result<(String, Cart), StoreError> {
        let mut call = script.key(key(session));
        call.key(seen_key(session));
        call.arg(Quantity::MAX)
            .arg(LINES_MAX)
            .arg(CART_LIFETIME.as_secs());
        arguments(&mut call);
        type Reply = (String, Vec<(String, u32)>, Vec<(String, String)>);
        let attempt = async || self.within(call.invoke_async(&mut self.connection())).await;
        let (word, stored, prices): Reply = match attempt().await {
            Err(error) if self.renewed_after(&error).await => attempt().await?,
            reply => reply?,
        };
        let lines = stored.into_iter().map(|(product, count)| {
            Some(Line {
                product_id: ProductId::parse(&product).ok()?,
                quantity: Quantity::new(count)?,
            })
        });
        // The script deleted every cart that is not valid.
        let mut lines = lines.collect::<Option<Vec<_>>>().unwrap_or_default();
        lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        let price = |(product, price): (String, String)| {
            let product_id = ProductId::parse(&product).ok()?;
            // A price that cannot be parsed counts as not seen.
            lines
                .iter()
                .any(|line| line.product_id == product_id)
                .then_some((product_id, price.parse().ok()?))
        };
        let seen: BTreeMap<ProductId, i64> = prices.into_iter().filter_map(price).collect();
        Ok((
            word,
            Cart {
                lines: Lines::merge(lines).unwrap_or_default(),
                seen,
            },
        ))
    }
}

impl CartStore for RedisCarts {
    async fn get(&self, session: &str) -> Result<Cart, StoreError> {
        Ok(self.run(&self.get, session, |_| {}).await?.1)
    }

    async fn add(&self, session: &str, line: &Line, price_minor: i64) -> Result<Cart, CartError> {
        let (word, cart) = self
            .run(&self.add, session, |call| {
                call.arg(line.product_id.as_str())
                    .arg(line.quantity.get())
                    .arg(price_minor);
            })
            .await?;
        match word.as_str() {
            "quantity" => Err(FieldError::new(
                "quantity",
                format!("must not pass {} of one product", Quantity::MAX),
            )
            .into()),
            "lines" => {
                let message = format!("must have at most {LINES_MAX} different products");
                Err(FieldError::new("product_id", message).into())
            }
            _ => Ok(cart),
        }
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Cart>, StoreError> {
        let (word, cart) = self
            .run(&self.set, session, |call| {
                call.arg(product_id.as_str()).arg(quantity.get());
            })
            .await?;
        Ok((word != "absent").then_some(cart))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, StoreError> {
        let removed = self.run(&self.remove, session, |call| {
            call.arg(product_id.as_str());
        });
        Ok(removed.await?.1)
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), StoreError> {
        let taken_out = self.run(&self.take_out, session, |call| {
            for line in ordered {
                call.arg(line.product_id.as_str()).arg(line.quantity.get());
            }
        });
        taken_out.await.map(|_| ())
    }

    async fn clear(&self, session: &str) -> Result<(), StoreError> {
        let attempt = async || {
            let mut connection = self.connection();
            self.within(connection.del(vec![key(session), seen_key(session)]))
                .await
        };
        let _: i64 = match attempt().await {
            Err(error) if self.renewed_after(&error).await => attempt().await?,
            deleted => deleted?,
        };
        Ok(())
    }
}

impl Guarded for RedisCarts {
    type Login = String;

    async fn check(&self) -> Check {
        match self.ping().await {
            Ok(()) => Check::LetIn,
            Err(StoreError::LoginRefused { .. }) => Check::Refused,
            Err(StoreError::Unavailable { .. }) => Check::Away,
        }
    }

    fn set(&self, password: &String) {
        if let Err(error) = self.set_password(password) {
            tracing::error!(error = %error, "The present password of the cache cannot be used");
        }
    }
}

fn with_password(info: ConnectionInfo, password: &str) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_password(password);
    info.set_redis_settings(settings)
}

fn manager(info: &ConnectionInfo) -> Result<ConnectionManager, RedisError> {
    let client = redis::Client::open(info.clone())?;
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(ANSWER_WITHIN))
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_min_delay(BETWEEN_CONNECTS)
        .set_number_of_retries(CONNECT_RETRIES);
    ConnectionManager::new_lazy_with_config(client, config)
}

fn key(session: &str) -> String {
    format!("cart:{session}")
}

/// Returns the key of the prices that a session saw. The braces contain the key of the cart, so a
/// Redis Cluster stores both keys in one slot. A script with two keys needs that.
fn seen_key(session: &str) -> String {
    format!("cart:seen:{{cart:{session}}}")
}

fn unavailable(error: RedisError) -> StoreError {
    // A refusal is either the client's own kind, or the server's code for a connection without a
    // password (`NOAUTH`) or with a wrong one (`WRONGPASS`).
    let refused = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
    if refused {
        return StoreError::login_refused(Backend::Carts, error);
    }
    StoreError::new(Backend::Carts, error)
}
