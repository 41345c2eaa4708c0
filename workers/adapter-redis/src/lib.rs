//! Carts in Redis: one hash a session, product to quantity. Limits and expiry are kept by scripts, so that what two
//! tabs do at once is done one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use app::ports::Unavailable;
use app::ports::carts::{CART_LIFETIME, CartError, CartStore};
use domain::FieldError;
use domain::cart::{LINES_MAX, Line, Lines, Quantity};
use domain::ids::ProductId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, RedisError, Script};

/// Redis answers in well under a millisecond. A storefront that waits longer keeps its customers waiting.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct RedisCarts {
    connection: ConnectionManager,
    add: Script,
    set: Script,
}

/// Adds ARGV[2] of product ARGV[1]. Answers "lines" or "quantity" where a limit would break, else the whole hash.
/// What is no hash of small numbers is no cart of ours: it is thrown away.
const ADD: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local there = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0
if there + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 'quantity' end
if there == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'lines' end
redis.call('HSET', KEYS[1], ARGV[1], there + tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 'ok'
";

/// Sets product ARGV[1] to ARGV[2] if it is there.
const SET: &str = r"
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
";

impl RedisCarts {
    /// # Errors
    /// When the server cannot be reached now. Later it is reached again by itself.
    pub async fn connect(url: &str) -> Result<RedisCarts, Unavailable> {
        let client = redis::Client::open(url).map_err(unavailable)?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_number_of_retries(2);
        let connection = ConnectionManager::new_with_config(client, config).await.map_err(unavailable)?;
        Ok(RedisCarts { connection, add: Script::new(ADD), set: Script::new(SET) })
    }

    async fn read(&self, session: &str) -> Result<Lines, Unavailable> {
        let read: Result<BTreeMap<String, String>, RedisError> = self.connection.clone().hgetall(key(session)).await;
        let stored = match read {
            Ok(stored) => stored,
            // Something else lies under the key: not a cart.
            Err(error)
                if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError)
                    || error.code() == Some("WRONGTYPE") =>
            {
                self.clear(session).await?;
                return Ok(Lines::default());
            }
            Err(error) => return Err(unavailable(error)),
        };
        let lines = stored.iter().map(|(product, count)| {
            let quantity = count.parse().ok().and_then(Quantity::new)?;
            Some(Line { product_id: ProductId::parse(product).ok()?, quantity })
        });
        match lines.collect::<Option<Vec<_>>>().and_then(|lines| Lines::merge(lines).ok()) {
            Some(lines) => Ok(lines),
            None => {
                self.clear(session).await?;
                Ok(Lines::default())
            }
        }
    }
}

impl CartStore for RedisCarts {
    async fn get(&self, session: &str) -> Result<Lines, Unavailable> {
        self.read(session).await
    }

    async fn add(&self, session: &str, line: &Line) -> Result<Lines, CartError> {
        let added: String = self
            .add
            .key(key(session))
            .arg(line.product_id.as_str())
            .arg(line.quantity.get())
            .arg(Quantity::MAX)
            .arg(LINES_MAX)
            .arg(CART_LIFETIME.as_secs())
            .invoke_async(&mut self.connection.clone())
            .await
            .map_err(unavailable)?;
        match added.as_str() {
            "quantity" => Err(FieldError::new("quantity", "must not pass 99 of one product").into()),
            "lines" => {
                Err(FieldError::new("product_id", format!("must not be more than {LINES_MAX} different products"))
                    .into())
            }
            _ => Ok(self.read(session).await?),
        }
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Lines>, Unavailable> {
        let there: bool = self
            .set
            .key(key(session))
            .arg(product_id.as_str())
            .arg(quantity.get())
            .arg(CART_LIFETIME.as_secs())
            .invoke_async(&mut self.connection.clone())
            .await
            .map_err(unavailable)?;
        if there { self.read(session).await.map(Some) } else { Ok(None) }
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Lines, Unavailable> {
        let removed: Result<i64, _> = self.connection.clone().hdel(key(session), product_id.as_str()).await;
        removed.map_err(unavailable)?;
        self.read(session).await
    }

    async fn clear(&self, session: &str) -> Result<(), Unavailable> {
        let deleted: Result<i64, _> = self.connection.clone().del(key(session)).await;
        deleted.map(|_| ()).map_err(unavailable)
    }
}

fn key(session: &str) -> String {
    format!("cart:{session}")
}

fn unavailable(error: RedisError) -> Unavailable {
    Unavailable::new("carts", error)
}
