//! The ports whose calls can fail.

use strum::{IntoStaticStr, VariantArray};

/// A port whose calls can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Port {
    Orders,
    Stock,
    Gateway,
    Mail,
    Queues,
    Publisher,
    Stream,
}

impl Port {
    /// All ports.
    pub const ALL: [Port; Port::VARIANTS.len()] = domain::array_of(Port::VARIANTS);

    /// Returns the port's name.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}
