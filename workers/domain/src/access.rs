//! Access control: which actor may perform which action on which resource.
//!
//! [`may`] is a total function over closed enums. A new actor, role or action does not compile
//! until every match has decided about it.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::FieldError;

/// The role of a member of staff, as the staff token states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum StaffRole {
    Admin,
    Manager,
    Barista,
    /// Answers customers by phone or by mail.
    Support,
    /// Performs every task of one shop. The token that `haven up` issues has this role.
    Staff,
}

crate::named_variants!(StaffRole);

impl StaffRole {
    /// Returns the role with this name.
    ///
    /// # Errors
    /// A field error that lists the valid roles when the text names none of them.
    pub fn parse(text: &str) -> Result<StaffRole, FieldError> {
        StaffRole::from_code(text).ok_or_else(|| {
            let known = StaffRole::ALL.map(StaffRole::code).join(", ");
            FieldError::new(
                "role",
                format!("{text:?} is not a role; use one of {known}"),
            )
        })
    }
}

/// The person or program that makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person or program that is not signed in.
    Visitor,
    /// The payment gateway. Its signature on the request has been verified.
    Gateway,
    /// A signed-in member of staff.
    Staff(StaffRole),
}

/// One thing that an actor may do. Each route has one action; see `contract::route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub enum Action {
    #[strum(serialize = "menu.read")]
    ReadMenu,
    #[strum(serialize = "slots.read")]
    ReadSlots,
    #[strum(serialize = "cart.keep")]
    KeepCart,
    #[strum(serialize = "order.place")]
    PlaceOrder,
    #[strum(serialize = "order.list_own")]
    ListOwnOrders,
    #[strum(serialize = "order.find")]
    FindOrder,
    #[strum(serialize = "order.read")]
    ReadOrder,
    #[strum(serialize = "order.cancel")]
    CancelOrder,
    #[strum(serialize = "order.timeline")]
    ReadTimeline,
    /// Read the mails and texts that the local AWS kept instead of sending.
    #[strum(serialize = "mailbox.read")]
    ReadMailbox,
    #[strum(serialize = "board.read")]
    ReadBoard,
    #[strum(serialize = "order.list")]
    ListOrders,
    #[strum(serialize = "order.move")]
    MoveOrder,
    #[strum(serialize = "order.cancel_as_staff")]
    CancelOrderAsStaff,
    #[strum(serialize = "stock.read")]
    ReadStock,
    #[strum(serialize = "stock.suggestions")]
    ReadSuggestions,
    #[strum(serialize = "stock.receive")]
    ReceiveStock,
    #[strum(serialize = "stock.correct")]
    CorrectStock,
    #[strum(serialize = "stock.write_off")]
    WriteOffStock,
    #[strum(serialize = "staff.sign_in")]
    SignIn,
    #[strum(serialize = "staff.sign_out")]
    SignOut,
    #[strum(serialize = "webhook.receive")]
    ReceiveWebhook,
    /// Read stylesheets, scripts, pictures and the description of the API.
    #[strum(serialize = "files.read")]
    ReadFiles,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; Action::VARIANTS.len()] = crate::array_of(Action::VARIANTS);

    /// Returns the name of the action in logs and in the audit log.
    pub const fn code(self) -> &'static str {
        self.into_str()
    }

    /// Returns the rule for this action, before anything about the resource is known.
    const fn rule(self) -> Rule {
        const EVERY: &[StaffRole] = &StaffRole::ALL;
        /// Roles that prepare orders and count stock.
        const BAR: &[StaffRole] = &[
            StaffRole::Admin,
            StaffRole::Manager,
            StaffRole::Barista,
            StaffRole::Staff,
        ];
        /// Roles that order from suppliers.
        const BUYERS: &[StaffRole] = &[StaffRole::Admin, StaffRole::Manager, StaffRole::Staff];
        /// Roles that answer questions about past orders.
        const ANSWERABLE: &[StaffRole] = &[
            StaffRole::Admin,
            StaffRole::Manager,
            StaffRole::Support,
            StaffRole::Staff,
        ];
        match self {
            Action::ReadMenu
            | Action::ReadSlots
            | Action::KeepCart
            | Action::PlaceOrder
            | Action::ListOwnOrders
            | Action::FindOrder
            | Action::SignIn
            | Action::ReadFiles => Rule::Everybody,
            Action::ReadOrder | Action::CancelOrder => Rule::OwnerOr(EVERY),
            Action::ReadTimeline => Rule::HiddenBut(ANSWERABLE),
            Action::CancelOrderAsStaff
            | Action::ListOrders
            | Action::ReadMailbox
            | Action::SignOut => Rule::Staff(EVERY),
            Action::ReadBoard
            | Action::MoveOrder
            | Action::ReadStock
            | Action::ReceiveStock
            | Action::CorrectStock
            | Action::WriteOffStock => Rule::Staff(BAR),
            Action::ReadSuggestions => Rule::Staff(BUYERS),
            Action::ReceiveWebhook => Rule::Gateway,
        }
    }

    /// Returns the staff roles that may perform the action on any resource. `None` means that the
    /// action needs no staff role, or that only the payment gateway may perform it.
    pub const fn staff(self) -> Option<&'static [StaffRole]> {
        match self.rule() {
            Rule::Everybody | Rule::Gateway => None,
            Rule::OwnerOr(roles) | Rule::HiddenBut(roles) | Rule::Staff(roles) => Some(roles),
        }
    }
}

/// The condition under which an action is allowed.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Everybody,
    /// The owner of the order and these roles. For every other visitor the order does not exist.
    OwnerOr(&'static [StaffRole]),
    /// These roles. For a visitor the order does not exist, even for its owner.
    HiddenBut(&'static [StaffRole]),
    Staff(&'static [StaffRole]),
    Gateway,
}

/// The object of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The shop as a whole.
    Shop,
    /// One order. `owned` is true when the session or a tracking token proves that it is the
    /// actor's.
    Order { owned: bool },
}

/// The reason for a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The actor is not signed in. Signing in may help.
    NotSignedIn,
    /// The actor may not know whether the resource exists. The response is that for an unknown
    /// resource.
    NotVisible,
    /// The actor is signed in, and the role does not allow the action.
    Role,
}

/// Decides whether the actor may perform the action on the resource.
///
/// # Errors
/// The reason for the denial.
pub fn may(actor: Actor, action: Action, resource: Resource) -> Result<(), Denial> {
    let owned = match resource {
        Resource::Order { owned } => owned,
        Resource::Shop => false,
    };
    let allowed_to = |roles: &[StaffRole], role| {
        if roles.contains(&role) {
            Ok(())
        } else {
            Err(Denial::Role)
        }
    };
    match (action.rule(), actor) {
        (Rule::Everybody, Actor::Visitor | Actor::Gateway | Actor::Staff(_)) => Ok(()),
        (Rule::OwnerOr(_), Actor::Visitor | Actor::Gateway | Actor::Staff(_)) if owned => Ok(()),
        (
            Rule::OwnerOr(roles) | Rule::HiddenBut(roles) | Rule::Staff(roles),
            Actor::Staff(role),
        ) => allowed_to(roles, role),
        (Rule::OwnerOr(_) | Rule::HiddenBut(_), Actor::Visitor | Actor::Gateway) => {
            Err(Denial::NotVisible)
        }
        (Rule::Staff(_), Actor::Visitor | Actor::Gateway) => Err(Denial::NotSignedIn),
        (Rule::Gateway, Actor::Gateway) => Ok(()),
        (Rule::Gateway, Actor::Visitor) => Err(Denial::NotSignedIn),
        (Rule::Gateway, Actor::Staff(_)) => Err(Denial::Role),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn actors() -> Vec<(&'static str, Actor)> {
        let staff = StaffRole::ALL.map(|role| (role.code(), Actor::Staff(role)));
        [("visitor", Actor::Visitor), ("gateway", Actor::Gateway)]
            .into_iter()
            .chain(staff)
            .collect()
    }

    /// Returns one row for each action and resource, with one column for each actor.
    fn table() -> String {
        let mut text = format!("{:<24}{:<8}", "action", "about");
        for (name, _) in actors() {
            let _ = write!(text, "{name:<9}");
        }
        for action in Action::ALL {
            let resources = [
                ("shop", Resource::Shop),
                ("own", Resource::Order { owned: true }),
                ("other", Resource::Order { owned: false }),
            ];
            for (about, resource) in resources {
                let _ = write!(text, "\n{:<24}{about:<8}", action.code());
                for (_, actor) in actors() {
                    let cell = match may(actor, action, resource) {
                        Ok(()) => "yes",
                        Err(Denial::NotSignedIn) => "sign in",
                        Err(Denial::NotVisible) => "hidden",
                        Err(Denial::Role) => "no",
                    };
                    let _ = write!(text, "{cell:<9}");
                }
            }
        }
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_whole_table_reads_as_reviewed() {
        insta::assert_snapshot!(table());
    }

    #[test]
    fn a_visitor_reads_no_order_of_others_and_changes_nothing() {
        for action in [Action::ReadOrder, Action::CancelOrder, Action::ReadTimeline] {
            let other = may(Actor::Visitor, action, Resource::Order { owned: false });
            assert_eq!(other, Err(Denial::NotVisible), "{action:?}");
        }
        for action in [
            Action::MoveOrder,
            Action::ReceiveStock,
            Action::WriteOffStock,
            Action::ReadBoard,
        ] {
            assert_eq!(
                may(Actor::Visitor, action, Resource::Shop),
                Err(Denial::NotSignedIn),
                "{action:?}"
            );
        }
    }

    #[test]
    fn codes_are_unique_and_read_back() {
        let mut codes: Vec<_> = Action::ALL.map(Action::code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Action::ALL.len());
        for role in StaffRole::ALL {
            assert_eq!(StaffRole::from_code(role.code()), Some(role));
        }
        let refused = StaffRole::parse("cleaner").expect_err("no role");
        assert!(
            refused.message.contains("\"cleaner\"") && refused.message.contains("barista"),
            "{refused}"
        );
    }
}
