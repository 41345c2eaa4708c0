//! The configuration of a storefront.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use app::ports::mailbox::Mailbox;
use domain::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::keys::Keys;
use crate::revoked::Revoked;
use crate::shops::Shops;

/// Configuration of a storefront. The comment of a field says when its value can change while the
/// process runs.
#[derive(Clone)]
pub struct Settings {
    /// The locations that take orders; replaced while the process runs.
    pub shops: Arc<Shops>,
    /// The keys that sign staff tokens and session cookies.
    pub signing_key: Keys,
    /// Ids of revoked staff tokens; read again while the process runs.
    pub revoked: Revoked,
    /// The webhook secret, shared with the payment gateway.
    pub webhook_secret: Keys,
    /// Sets `Secure` on cookies, so that browsers send them over TLS only. False on a laptop, which
    /// has no TLS.
    pub secure_cookies: bool,
    /// The live parameter `order/max_queue_size`.
    pub pending_max: Arc<AtomicU64>,
    /// Orders per minute from one address; 0 turns the limit off.
    pub orders_per_minute: u32,
    /// Number of proxies in front of the storefront that append the address of their peer to
    /// `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// The mails and texts that a local AWS keeps instead of sending. `None` on AWS, where the page
    /// answers 404.
    pub mailbox: Option<Arc<dyn Mailbox>>,
    /// Ends event streams when the process shuts down.
    pub shutdown: CancellationToken,
    /// The clock for code that has no port at hand, such as the expiry of sessions.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}
