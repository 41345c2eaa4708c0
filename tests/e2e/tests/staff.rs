//! Staff tokens and the audit log on a running shop: roles, the list of tokens, revocation and
//! sign-out.

use std::time::{Duration, Instant};

use e2e::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const RESTOCK: &str = "/api/v1/admin/inventory/espresso/restock";

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

/// Returns the status of a request that restocks a product with a token.
async fn restock(world: &World, token: &str) -> StatusCode {
    let bearer = format!("bearer {token}");
    let body = json!({ "quantity": 1, "reason": "delivery" });
    world
        .ask(
            Method::POST,
            RESTOCK,
            &[("Authorization", &bearer)],
            Some(&body),
        )
        .await
        .status
}

/// Waits until the storefront refuses a revoked token. The storefront reads revocations within two
/// seconds.
async fn until_refused(world: &World, token: &str) {
    let begun = Instant::now();
    while restock(world, token).await != StatusCode::UNAUTHORIZED {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "the token is still good"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_have_roles_are_listed_and_are_refused_soon_after_they_were_revoked() {
    let world = World::open(&[]).await;
    for (arguments, said) in [
        (&["--role", "cleaner"][..], "barista"),
        (&["--name", "customer"], "system"),
        (&["--name", "order-worker"], "system"),
        (&["--name", "\u{200b}"], "required"),
        (&["--name", ""], "required"),
        (&["--hours", "0"], "hours"),
    ] {
        let refused = world.haven(&[&["staff", "token"], arguments].concat());
        assert_eq!(
            refused.status.code(),
            Some(64),
            "{arguments:?}: {}",
            text(&refused.stdout)
        );
        assert!(
            text(&refused.stderr).contains(said),
            "{arguments:?}: {}",
            text(&refused.stderr)
        );
    }
    let issue = |role: &str| {
        let made = world.haven(&["staff", "token", "--name", "Ana", "--role", role]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        text(&made.stdout)
    };
    let (barista, support) = (issue("barista"), issue("support"));
    assert_eq!(restock(&world, &barista).await, StatusCode::OK);
    assert_eq!(restock(&world, &support).await, StatusCode::FORBIDDEN);

    let tokens = || -> Vec<Value> {
        let listed = world.haven(&["staff", "tokens", "--json"]);
        assert!(listed.status.success(), "{}", text(&listed.stderr));
        assert!(
            !text(&listed.stdout).contains(&barista),
            "never the token itself"
        );
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        listed["tokens"].as_array().expect("tokens").clone()
    };
    let listed = tokens();
    let of = |role: &str| {
        listed
            .iter()
            .find(|token| token["role"] == role)
            .expect("listed")
            .clone()
    };
    // The token in haven.json, and the two that were issued.
    assert_eq!(listed.len(), 3, "{listed:?}");
    let local = of("staff");
    assert_eq!(
        (&local["name"], &local["state"]),
        (&json!("local staff"), &json!("valid"))
    );
    let id = of("barista")["id"].as_str().expect("an id").to_owned();
    let revoked = world.haven(&["staff", "revoke", &id]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    until_refused(&world, &barista).await;
    assert_eq!(
        restock(&world, &support).await,
        StatusCode::FORBIDDEN,
        "another token is as it was"
    );
    let unknown = world.haven(&["staff", "revoke", "01890000-0000-7000-8000-000000000000"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));

    // A sign-out still holds after a restart, because revocations are in the database.
    let mine = issue("manager");
    let address = format!(
        "{}/staff/sign-out",
        world.facts["storefront"].as_str().expect("an address")
    );
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("built");
    let out = browser
        .post(address)
        .header("Cookie", format!("staff={mine}"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(out.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        restock(&world, &mine).await,
        StatusCode::UNAUTHORIZED,
        "at once"
    );
    world.kill("storefront");
    let begun = Instant::now();
    while world
        .http
        .get(world.facts["storefront"].as_str().expect("an address"))
        .send()
        .await
        .is_err()
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the storefront is not back"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(restock(&world, &mine).await, StatusCode::UNAUTHORIZED);
    assert_eq!(restock(&world, &barista).await, StatusCode::UNAUTHORIZED);

    // A sign-out with the token of haven.json revokes it for all programs, until `haven up`
    // replaces it.
    let printed = world.facts["staff_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let address = format!(
        "{}/staff/sign-out",
        world.facts["storefront"].as_str().expect("an address")
    );
    browser
        .post(address)
        .header("Cookie", format!("staff={printed}"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(restock(&world, &printed).await, StatusCode::UNAUTHORIZED);
    let begun = Instant::now();
    let renewed = loop {
        let facts = std::fs::read_to_string(world.state().join("haven.json")).expect("facts");
        let facts: Value = serde_json::from_str(&facts).expect("JSON");
        let token = facts["staff_token"].as_str().expect("a token").to_owned();
        if token != printed {
            break token;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it was not replaced"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(restock(&world, &renewed).await, StatusCode::OK);

    // A link of `haven open` signs in once. The session is listed, and can be revoked.
    let opened = world.haven(&["open", "mail", "--json"]);
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    let opened: Value = serde_json::from_slice(&opened.stdout).expect("JSON");
    assert!(opened["expires_at"].is_string(), "{opened}");
    let link = opened["url"].as_str().expect("an address");
    let (address, token) = link.split_once("#link=").expect("a fragment");
    let sign_in = browser
        .post(address)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"));
    let again = sign_in.try_clone().expect("a text").send();
    let signed_in = sign_in.send().await.expect("an answer");
    assert_eq!(signed_in.status(), StatusCode::SEE_OTHER);
    assert_eq!(signed_in.headers()["location"], "/staff/mailbox");
    let cookies = signed_in.headers().get_all("set-cookie");
    let session = cookies
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.strip_prefix("staff="))
        .find_map(|cookie| Some(cookie.split_once(';')?.0.to_owned()))
        .expect("a staff token");
    let again = again.await.expect("an answer");
    assert_eq!(again.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = again.text().await.expect("a page");
    assert!(page.contains("This sign-in link was used before"), "{page}");
    assert_eq!(restock(&world, &session).await, StatusCode::OK);
    let newest = tokens().swap_remove(0);
    assert_eq!(
        (&newest["name"], &newest["role"], &newest["state"]),
        (&json!("local staff"), &json!("staff"), &json!("valid"))
    );
    let revoked = world.haven(&["staff", "revoke", newest["id"].as_str().expect("an id")]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    until_refused(&world, &session).await;

    let database = world.facts["database_url"].as_str().expect("a database");
    let database = sqlx::SqlitePool::connect(database).await.expect("it opens");
    let acts: Vec<(String, String)> =
        sqlx::query_as("SELECT actor, action FROM audit ORDER BY audit_id")
            .fetch_all(&database)
            .await
            .expect("read");
    let has = |actor: &str, action: &str| {
        acts.iter()
            .any(|(who, what)| who == actor && what == action)
    };
    assert!(
        has("haven up", "staff_token.issue") && has("Ana", "stock.receive"),
        "{acts:?}"
    );
    assert!(has("Ana", "staff.sign_out"), "{acts:?}");
    assert!(has("local staff", "staff.sign_in"), "{acts:?}");
    assert!(
        acts.iter().any(|(_, what)| what == "staff_token.revoke"),
        "{acts:?}"
    );
    let refused = sqlx::query("DELETE FROM audit")
        .execute(&database)
        .await
        .expect_err("insert-only");
    assert!(refused.to_string().contains("insert-only"), "{refused}");
}
