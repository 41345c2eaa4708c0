//! Properties that must hold in every reachable state, and states that must be reachable for the
//! check to be meaningful.

use domain::saga::{Command, State};
use stateright::Property;

use super::shop::ModelShop;
use super::world::{Hand, Hold, Message, Order, World};

/// Returns all properties.
pub fn all() -> Vec<Property<ModelShop>> {
    vec![
        Property::<ModelShop>::always("stock is conserved and never negative", |shop, world| {
            let stock = world.stock;
            let all = stock.available + stock.reserved + stock.sold;
            all == shop.units && stock.available >= 0 && stock.reserved >= 0 && stock.sold >= 0
        }),
        Property::<ModelShop>::always("no unit is sold twice", |shop, world| {
            let sold = active(shop, world)
                .filter(|order| order.state == State::Confirmed)
                .count();
            i8::try_from(sold).is_ok_and(|sold| sold <= shop.units)
        }),
        Property::<ModelShop>::always("an order is charged at most once", |shop, world| {
            active(shop, world).all(|order| {
                order.gateway.captures <= 1 && order.gateway.refunds <= order.gateway.captures
            })
        }),
        Property::<ModelShop>::always("money is kept exactly for what was sold", |shop, world| {
            active(shop, world).all(|order| {
                let kept =
                    order.gateway.captures - order.gateway.refunds.min(order.gateway.captures);
                if order.state.is_sold() {
                    kept == 1
                } else {
                    kept == 0 || !order.state.settled()
                }
            })
        }),
        Property::<ModelShop>::always(
            "an ended order holds no stock, a sold one has its unit",
            |shop, world| {
                active(shop, world).all(|order| {
                    let holds = matches!(order.hold, Hold::Held | Hold::Confirmed);
                    if order.state.is_sold() {
                        order.hold == Hold::Confirmed
                    } else {
                        !holds || !order.state.settled()
                    }
                })
            },
        ),
        Property::<ModelShop>::always(
            "what an order awaits is under way, also without the sweeper",
            |shop, world| (0..shop.orders).all(|order| is_under_way(world, order)),
        ),
        Property::<ModelShop>::always("no message becomes a dead letter", |shop, world| {
            active(shop, world).all(|order| !order.parked)
        }),
        Property::<ModelShop>::sometimes("one order is sold and another fails", |shop, world| {
            active(shop, world).any(|order| order.state == State::Confirmed)
                && (shop.orders == 1
                    || active(shop, world).any(|order| order.state == State::Failed))
        }),
        Property::<ModelShop>::sometimes(
            "an order ends cancelled after it was charged",
            |shop, world| {
                active(shop, world)
                    .any(|order| order.state == State::Cancelled && order.gateway.captures == 1)
            },
        ),
        Property::<ModelShop>::sometimes("everything ends and nothing waits", |shop, world| {
            active(shop, world).all(|order| order.state.settled() && order.waiting.is_empty())
        }),
    ]
}

fn active<'a>(shop: &ModelShop, world: &'a World) -> impl Iterator<Item = &'a Order> {
    world.orders.iter().take(usize::from(shop.orders))
}

/// Returns whether a message that advances the order is waiting, or a worker handles one. If the
/// worker dies, a message must be waiting.
fn is_under_way(world: &World, index: u8) -> bool {
    if world
        .workers
        .iter()
        .any(|hand| matches!(hand, Hand::Busy { order, .. } if *order == index))
    {
        return true;
    }
    let order = &world.orders[usize::from(index)];
    let any = |messages: &[Message]| messages.iter().any(|message| order.waiting.has(*message));
    match order.state.awaits() {
        None => true,
        Some(Command::ReserveStock) => any(&[Message::ReserveStock]),
        Some(Command::ReleaseStock) => any(&[Message::ReleaseStock]),
        Some(Command::ChargeCard) => any(&[
            Message::ChargeCard,
            Message::PaymentCompleted,
            Message::PaymentFailed,
        ]),
        Some(Command::RefundCard) => any(&[Message::RefundCard, Message::PaymentRefunded]),
    }
}
