//! Carts in Redis: one hash a session, product to quantity, and a second hash with the prices that
//! the customer saw. Limits and expiry are kept by scripts, so that what two tabs do at once is
//! done one after the other. Counts of what clients do lie beside them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::Unavailable;
use app::ports::carts::{CART_LIFETIME, Cart, CartError, CartStore};
use domain::FieldError;
use domain::cart::{LINES_MAX, Line, Lines, Quantity};
use domain::ids::ProductId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    AsyncCommands as _, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError, Script,
    ScriptInvocation, ServerErrorKind,
};

/// Redis answers in well under a millisecond. A storefront that waits longer keeps its customers
/// waiting.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const CALL_WITHIN: Duration = Duration::from_millis(500);
/// Tries to connect before those who wait are told that it is unavailable; the next call tries
/// again.
const CONNECT_RETRIES: usize = 2;
/// Before the first of them; twice that before the second. With its jitter all of it fits into a
/// call, so that a call hears why there is no connection.
const BETWEEN_CONNECTS: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct RedisCarts {
    /// Shared by all clones.
    link: Arc<Mutex<Link>>,
    get: Script,
    add: Script,
    set: Script,
    remove: Script,
    take_out: Script,
    count: Script,
}

struct Link {
    /// Where the server is, and what to show it.
    info: ConnectionInfo,
    /// Replaced by a new one when it has gone stale.
    connection: ConnectionManager,
}

/// What is unavailable when the server refuses our password: nothing was done, and another password
/// may help.
pub const PASSWORD: &str = "the carts' password";

/// What every script begins and ends with. KEYS[1] is the cart, KEYS[2] the prices that were seen;
/// ARGV[1] the most of one product, ARGV[2] the most products, ARGV[3] the seconds a cart lives.
/// What is not a hash of that is no cart of ours: it is thrown away, and the customer starts with
/// an empty one. `reply` gives a word, the cart and the prices.
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

const GET: &str = "return reply('there')";

/// Adds ARGV[5] of product ARGV[4], which was seen at ARGV[6].
const ADD: &str = r"
local there = tonumber(redis.call('HGET', cart, ARGV[4]) or '0')
if there + tonumber(ARGV[5]) > most then return reply('quantity') end
if there == 0 and redis.call('HLEN', cart) >= products then return reply('lines') end
redis.call('HINCRBY', cart, ARGV[4], ARGV[5])
if there == 0 then redis.call('HSET', seen, ARGV[4], ARGV[6]) else redis.call('HSETNX', seen, ARGV[4], ARGV[6]) end
return reply('changed')
";

/// Sets product ARGV[4] to ARGV[5] if it is there.
const SET: &str = r"
if redis.call('HEXISTS', cart, ARGV[4]) == 0 then return reply('absent') end
redis.call('HSET', cart, ARGV[4], ARGV[5])
return reply('changed')
";

/// Takes product ARGV[4] out.
const REMOVE: &str = r"
redis.call('HDEL', cart, ARGV[4])
redis.call('HDEL', seen, ARGV[4])
return reply('changed')
";

/// Takes out of each product ARGV[4], ARGV[6], ... as many as the argument after it says, or all
/// that are there.
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

/// Counts KEYS[1], which is forgotten ARGV[1] seconds after it was counted first. In one step: a
/// count without an end would refuse a client for ever.
const COUNT: &str = r"
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
";

impl RedisCarts {
    /// The server need not be there yet: it is reached when it is needed, and again when it was
    /// lost. A `rediss://` server must show a certificate that this machine's roots know.
    ///
    /// # Errors
    /// When the URL is none.
    pub async fn connect(url: &str) -> Result<RedisCarts, Unavailable> {
        RedisCarts::connect_as(url, None).await
    }

    /// With a password that the URL does not carry.
    ///
    /// # Errors
    /// When the URL is none.
    pub async fn connect_as(url: &str, password: Option<&str>) -> Result<RedisCarts, Unavailable> {
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
            get,
            add,
            set,
            remove,
            take_out,
            count: Script::new(COUNT),
        })
    }

    /// Counts `key` and returns how often it was counted since the first time within `window`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn count(&self, key: &str, window: Duration) -> Result<u64, Unavailable> {
        let mut call = self.count.key(format!("limit:{key}"));
        call.arg(window.as_secs());
        self.within(call.invoke_async(&mut self.connection())).await
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        let mut connection = self.connection();
        self.within(async { connection.ping().await }).await
    }

    /// From now on; a connection that is open goes on with what it has shown.
    ///
    /// # Errors
    /// When no client can be made with it.
    pub fn set_password(&self, password: &str) -> Result<(), Unavailable> {
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

    /// Runs a call, connecting included: a page without its cart's count is better than a page that
    /// waits.
    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Unavailable> {
        let answer = tokio::time::timeout(CALL_WITHIN, call).await;
        // The manager connects anew after an error of the connection, but not when a server that is
        // gone says nothing, nor when after a failover it talks to what is now a replica.
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
            Err(_) => Err(Unavailable::new(
                "carts",
                format!("no answer within {CALL_WITHIN:?}"),
            )),
        }
    }

    /// Runs a script on the cart; returns its word, and the cart as it then is.
    async fn run<'a>(
        &self,
        script: &'a Script,
        session: &str,
        arguments: impl FnOnce(&mut ScriptInvocation<'a>),
    ) -> Result<(String, Cart), Unavailable> {
        let mut call = script.key(key(session));
        call.key(seen_key(session));
        call.arg(Quantity::MAX)
            .arg(LINES_MAX)
            .arg(CART_LIFETIME.as_secs());
        arguments(&mut call);
        type Reply = (String, Vec<(String, u32)>, Vec<(String, String)>);
        let (word, stored, prices): Reply = self
            .within(call.invoke_async(&mut self.connection()))
            .await?;
        let lines = stored.into_iter().map(|(product, count)| {
            Some(Line {
                product_id: ProductId::parse(&product).ok()?,
                quantity: Quantity::new(count)?,
            })
        });
        // The script let nothing else through.
        let mut lines = lines.collect::<Option<Vec<_>>>().unwrap_or_default();
        lines.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        let price = |(product, price): (String, String)| {
            let product_id = ProductId::parse(&product).ok()?;
            // A price that cannot be read is one that nobody remembers.
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
    async fn get(&self, session: &str) -> Result<Cart, Unavailable> {
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
                let message = format!("must not be more than {LINES_MAX} different products");
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
    ) -> Result<Option<Cart>, Unavailable> {
        let (word, cart) = self
            .run(&self.set, session, |call| {
                call.arg(product_id.as_str()).arg(quantity.get());
            })
            .await?;
        Ok((word != "absent").then_some(cart))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, Unavailable> {
        let removed = self.run(&self.remove, session, |call| {
            call.arg(product_id.as_str());
        });
        Ok(removed.await?.1)
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), Unavailable> {
        let taken_out = self.run(&self.take_out, session, |call| {
            for line in ordered {
                call.arg(line.product_id.as_str()).arg(line.quantity.get());
            }
        });
        taken_out.await.map(|_| ())
    }

    async fn clear(&self, session: &str) -> Result<(), Unavailable> {
        let mut connection = self.connection();
        let _: i64 = self
            .within(connection.del(vec![key(session), seen_key(session)]))
            .await?;
        Ok(())
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

/// The braces make a cluster keep it where it keeps the cart: what stands in them is the whole key
/// of the cart.
fn seen_key(session: &str) -> String {
    format!("cart:seen:{{cart:{session}}}")
}

fn unavailable(error: RedisError) -> Unavailable {
    // As the client says it, or as the server does to a connection that has shown nothing.
    let refused = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
    Unavailable::new(if refused { PASSWORD } else { "carts" }, error)
}
