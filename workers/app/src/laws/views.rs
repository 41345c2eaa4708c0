//! Laws of `OrderViews`.

use uuid::Uuid;

use crate::location::Location;
use crate::ports::orders::StoredOrder;
use crate::ports::scope::Scope;
use crate::ports::views::{OrderView, OrderViews};

/// Runs all laws, each on its own sessions.
pub async fn all(views: &impl OrderViews) {
    the_newest_version_is_shown_in_any_order_of_arrival(views).await;
    every_view_of_a_batch_is_shown(views).await;
    a_session_sees_its_own_orders_newest_first(views).await;
    a_limit_counts_what_is_in_scope(views).await;
}

fn view_of(session: &str) -> OrderView {
    let new = super::orders::new_order();
    let stored = StoredOrder {
        order: new.order,
        tracking_token: new.tracking_token,
        session_hash: Some(session.to_owned()),
    };
    OrderView::of(&stored)
}

fn a_session() -> String {
    Uuid::now_v7().to_string()
}

async fn show(views: &impl OrderViews, shown: &[OrderView]) {
    for done in views.show(shown).await {
        done.expect("the view is there");
    }
}

async fn the_newest_version_is_shown_in_any_order_of_arrival(views: &impl OrderViews) {
    let session = a_session();
    let first = view_of(&session);
    let third = OrderView {
        version: 3,
        status: "ready".to_owned(),
        reason: Some("it is".to_owned()),
        ..first.clone()
    };
    let second = OrderView {
        version: 2,
        status: "confirmed".to_owned(),
        ..first.clone()
    };
    assert_eq!(views.shown_version(first.order_id).await, Ok(None));
    show(views, std::slice::from_ref(&first)).await;
    assert_eq!(
        views.shown_version(first.order_id).await,
        Ok(Some(first.version))
    );
    for view in [&first, &third, &second, &third, &first] {
        show(views, std::slice::from_ref(view)).await;
    }
    assert_eq!(views.shown_version(first.order_id).await, Ok(Some(3)));
    assert_eq!(
        views
            .of_session(&Scope::Everything, &session, 10, None)
            .await
            .expect("read"),
        [third]
    );
}

async fn every_view_of_a_batch_is_shown(views: &impl OrderViews) {
    let session = a_session();
    let old: Vec<_> = (0..30).map(|_| view_of(&session)).collect();
    let ahead = OrderView {
        version: 9,
        ..old[7].clone()
    };
    show(views, std::slice::from_ref(&ahead)).await;
    // One of the orders has a newer view already, and one is listed twice.
    let mut many = old.clone();
    many.push(OrderView {
        version: 5,
        ..old[3].clone()
    });
    show(views, &many).await;
    let shown = views
        .of_session(&Scope::Everything, &session, 100, None)
        .await
        .expect("read");
    assert_eq!(shown.len(), 30);
    let version = |index: usize| {
        shown
            .iter()
            .find(|view| view.order_id == old[index].order_id)
            .map(|view| view.version)
    };
    assert_eq!(
        (version(7), version(3), version(0)),
        (Some(9), Some(5), Some(1))
    );
}

async fn a_session_sees_its_own_orders_newest_first(views: &impl OrderViews) {
    let (session, other) = (a_session(), a_session());
    let mut mine: Vec<_> = (0..4).map(|_| view_of(&session)).collect();
    let nobodys = OrderView {
        session_hash: None,
        ..view_of(&session)
    };
    show(views, &mine).await;
    show(views, &[view_of(&other), nobodys]).await;
    mine.reverse();
    assert_eq!(
        views
            .of_session(&Scope::Everything, &session, 3, None)
            .await
            .expect("read"),
        mine[..3]
    );
    assert_eq!(
        views
            .of_session(&Scope::Everything, &session, 3, Some(mine[2].order_id))
            .await
            .expect("read"),
        mine[3..]
    );
}

async fn a_limit_counts_what_is_in_scope(views: &impl OrderViews) {
    let session = a_session();
    let mine: Vec<_> = (0..2).map(|_| view_of(&session)).collect();
    let elsewhere = OrderView {
        tenant_id: Some("another-house".to_owned()),
        ..view_of(&session)
    };
    let newer: Vec<_> = (0..5)
        .map(|_| OrderView {
            order_id: view_of(&session).order_id,
            ..elsewhere.clone()
        })
        .collect();
    show(views, &mine).await;
    show(views, &newer).await;
    let scope = Scope::of(&Location::initial());
    let listed = views
        .of_session(&scope, &session, 2, None)
        .await
        .expect("read");
    assert_eq!(
        listed,
        [mine[1].clone(), mine[0].clone()],
        "the newest orders belong to another tenant"
    );
    assert_eq!(
        views
            .of_session(&scope, &session, 1, None)
            .await
            .expect("read"),
        mine[1..]
    );
}
