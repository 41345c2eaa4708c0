//! Links that sign a browser in once, for `haven open staff` and `haven open mail`.
//!
//! A link is the address of the sign-in page with a link token in the fragment:
//! `/staff/sign-in#link=TOKEN`. Only the owner of a state directory can make one, because a link
//! token is signed with the signing key and recorded in the database, and the logins for both are
//! in the directory (mode 0700).
//!
//! 1. `haven` records a staff token that expires after [`LIFE`], and signs it as a link token. A
//!    link token is no staff token: the first part differs, so no page and no API accepts it.
//! 2. The browser loads the sign-in page. Browsers do not send the fragment, so neither an access
//!    log nor a `Referer` has the token. The script of the page removes it from the address bar and
//!    the history, and posts it as a form.
//! 3. `redeem` revokes the recorded token. The database tells exactly one caller that the token
//!    was not revoked before, also with several storefronts and after a restart. That caller gets a
//!    new staff token, and signs in with it as with a token that was typed. `haven staff tokens`
//!    lists it, and `haven staff revoke` ends the session.
//!
//! The command line of the program that opens the browser contains the link, and every account of
//! the machine can read command lines. That is why a link works once and for a short time: what
//! remains there is of no use. An account that is faster than the browser is noticed, because the
//! owner's browser then shows that the link was used.
//!
//! A private file that posts a staff token does not work. Browsers in a sandbox (snap, flatpak)
//! cannot read a hidden directory. The form of a `file:` page is a request from another site, with
//! `Origin: null`: `security` refuses it, and after it a browser does not send a `SameSite=Strict`
//! cookie to the page that the response redirects to. A `GET` with the token in the query would be
//! in the history, and a browser that loads addresses ahead would use it up.

use app::ports::access::{StaffToken, StaffTokens as _};
use app::ports::{Source as _, StoreError};
use app::use_cases::staff_tokens::{self, new_token};
use contract::route::RouteId;
use time::Duration;
use uuid::Uuid;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::staff::{self, TokenRefusal};
use crate::state::App;

/// The lifetime of a link.
pub const LIFE: Duration = Duration::seconds(60);
/// The name of the mailbox in a link.
pub const MAILBOX: &str = "mailbox";

/// The first part of a link token.
const VERSION: &str = "hvlink1";

/// Returns the address of a link to the staff pages of the storefront at the base URL `storefront`.
/// With `page`, the link leads to that page: [`MAILBOX`]. The caller must record the token first,
/// with a lifetime of at most [`LIFE`].
pub fn address(storefront: &str, key: &str, token: &StaffToken, page: Option<&str>) -> String {
    let text = staff::sign(VERSION, key, token);
    let page = page.map(|page| format!("&page={page}")).unwrap_or_default();
    format!(
        "{storefront}{}#link={text}{page}",
        RouteId::SignInPage.path()
    )
}

/// Returns whether the text begins as a link token does.
pub(crate) fn is_link(text: &str) -> bool {
    text.strip_prefix(VERSION)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// The result of an exchange.
pub(crate) struct Redeemed {
    /// The text of the new staff token.
    pub token: String,
    /// The id of the link token.
    pub link: Uuid,
}

/// The reason why a link is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkRefusal {
    /// The link was not made for this shop, or was changed.
    Invalid,
    Expired,
    /// The link was used or revoked.
    Used,
}

impl LinkRefusal {
    /// Returns what happened and what to do next.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            LinkRefusal::Invalid => {
                "This is not a sign-in link of this shop. Run `haven open staff` for one."
            }
            LinkRefusal::Expired => {
                "This sign-in link has expired: a link works for one minute. Run `haven open staff` for a new one."
            }
            LinkRefusal::Used => {
                "This sign-in link was used before: a link works once. Run `haven open staff` for a new one. If you did not use the link, revoke the newest token of `haven staff tokens`."
            }
        }
    }
}

/// Exchanges a link token for a new staff token of the same person and role, once.
///
/// # Errors
/// Returns 503 when the database does not answer. The link may be used up then.
pub(crate) async fn redeem<P: Ports>(
    app: &App<P>,
    text: &str,
) -> Result<Result<Redeemed, LinkRefusal>, Problem> {
    let (settings, orders) = (&app.settings, app.ports.orders());
    let now = app.ports.source().now();
    // Links are for the platform of one machine, whose cookies are not `Secure`.
    if settings.secure_cookies {
        return Ok(Err(LinkRefusal::Invalid));
    }
    let verified =
        settings
            .signing_key
            .find(|key| match staff::verify_version(VERSION, key, text, now) {
                Ok(staff) => Some(Ok(staff)),
                Err(TokenRefusal::Expired) => Some(Err(LinkRefusal::Expired)),
                Err(
                    TokenRefusal::Missing
                    | TokenRefusal::OldFormat
                    | TokenRefusal::Forged
                    | TokenRefusal::Revoked
                    | TokenRefusal::NotForPeople,
                ) => None,
            });
    let staff = match verified {
        Some(Ok(staff)) => staff,
        Some(Err(refusal)) => return Ok(Err(refusal)),
        None => return Ok(Err(LinkRefusal::Invalid)),
    };
    let longest = LIFE.whole_seconds();
    let new = new_token(
        app.ports.source(),
        &staff.name,
        staff.role,
        staff_tokens::LIFE,
    );
    let Some(new) = new
        .ok()
        .filter(|_| staff.expires_at - now.unix_timestamp() <= longest)
    else {
        return Ok(Err(LinkRefusal::Invalid));
    };
    let unsure = |error: StoreError| {
        Problem::uncertain(
            &error,
            "We do not know whether you are signed in. Run `haven open staff` for a new link.",
        )
    };
    // Of two exchanges at the same time, only one finds the token unrevoked.
    match orders
        .revoke_token(staff.token_id, now)
        .await
        .map_err(unsure)?
    {
        None => return Ok(Err(LinkRefusal::Invalid)),
        Some(link) if link.revoked_at.is_some() => return Ok(Err(LinkRefusal::Used)),
        Some(_) => {}
    }
    orders.record_token(&new).await.map_err(unsure)?;
    let token = settings
        .signing_key
        .find(|key| Some(staff::issue(key, &new)));
    Ok(token
        .map(|token| Redeemed {
            token,
            link: staff.token_id,
        })
        .ok_or(LinkRefusal::Invalid))
}
