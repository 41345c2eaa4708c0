//! Money in integer minor units. No price is ever computed with floating-point numbers.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// A currency by its ISO 4217 code. Every currency here has two decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "UPPERCASE", const_into_str)]
pub enum Currency {
    Usd,
    Eur,
    Gbp,
}

crate::named_variants!(Currency);

impl Currency {
    /// Returns the symbol that precedes an amount.
    const fn symbol(self) -> &'static str {
        match self {
            Currency::Usd => "$",
            Currency::Eur => "€",
            Currency::Gbp => "£",
        }
    }
}

/// An amount in minor units (cents).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units.
    pub minor: i64,
    pub currency: Currency,
}

/// The reason why an amount cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The two amounts have different currencies.
    #[error("amounts in {0:?} and {1:?} cannot be added")]
    CurrencyMismatch(Currency, Currency),
    /// The result does not fit into 64 bits.
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    /// Creates an amount from minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Creates an amount of zero.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Returns the sum of two amounts.
    ///
    /// # Errors
    /// When the currencies differ or the sum overflows.
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// Returns the amount multiplied by a count.
    ///
    /// # Errors
    /// When the product overflows.
    pub fn times(self, count: u32) -> Result<Money, MoneyError> {
        let minor = self
            .minor
            .checked_mul(i64::from(count))
            .ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// Returns the tax on this amount, rounded half away from zero to the minor unit.
    ///
    /// # Errors
    /// When the tax overflows.
    pub fn tax(self, rate: TaxRate) -> Result<Money, MoneyError> {
        let scaled = i128::from(self.minor) * i128::from(rate.millionths);
        let half = if scaled < 0 { -500_000 } else { 500_000 };
        let minor = i64::try_from((scaled + half) / 1_000_000).map_err(|_| MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// Splits the amount into `parts` amounts that differ by at most one minor unit and add up to
    /// it. Returns an empty list for zero parts.
    pub fn split(self, parts: u32) -> Vec<Money> {
        if parts == 0 {
            return Vec::new();
        }
        let count = i64::from(parts);
        let (each, rest) = (self.minor.div_euclid(count), self.minor.rem_euclid(count));
        (0..count)
            .map(|part| Money {
                minor: each + i64::from(part < rest),
                ..self
            })
            .collect()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(
            f,
            "{sign}{}{}.{:02}",
            self.currency.symbol(),
            minor / 100,
            minor % 100
        )
    }
}

/// A sales tax rate with four decimals of a percent, stored in millionths: 88,750 is 8.875 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaxRate {
    millionths: u32,
}

impl TaxRate {
    /// The highest rate that a location may have: 50 %. A higher value is almost certainly in the
    /// wrong unit, because no country taxes food that much.
    pub const MAX: TaxRate = TaxRate {
        millionths: 500_000,
    };

    /// Creates a rate from millionths.
    pub const fn of_millionths(millionths: u32) -> TaxRate {
        TaxRate { millionths }
    }

    /// Creates a rate from basis points (hundredths of a percent): 888 is 8.88 %.
    pub const fn of_basis_points(basis_points: u32) -> TaxRate {
        TaxRate {
            millionths: basis_points.saturating_mul(100),
        }
    }

    /// Returns the rate of a row that stores both units.
    ///
    /// The millionths count when they round to the basis points. Otherwise an older program or a
    /// person changed only the basis points, and the basis points count.
    pub fn stored(basis_points: u32, millionths: Option<u32>) -> TaxRate {
        let rounded = TaxRate::of_basis_points(basis_points);
        match millionths {
            Some(exact) if exact.abs_diff(rounded.millionths) <= 50 => {
                TaxRate::of_millionths(exact)
            }
            _ => rounded,
        }
    }

    /// Returns the rate in millionths.
    pub const fn millionths(self) -> u32 {
        self.millionths
    }

    /// Returns the rate in basis points, rounded half up.
    pub const fn basis_points(self) -> u32 {
        self.millionths.saturating_add(50) / 100
    }
}

impl fmt::Display for TaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:04}", self.millionths % 10_000);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{}{point}{decimals} %", self.millionths / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_split_neither_makes_nor_loses_a_cent(minor in -1_000_000_000i64..1_000_000_000, parts in 1u32..200) {
            let shares = Money::new(minor, Currency::Usd).split(parts);
            prop_assert_eq!(shares.iter().map(|share| share.minor).sum::<i64>(), minor);
            let (least, most) = (shares.iter().map(|s| s.minor).min(), shares.iter().map(|s| s.minor).max());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1);
        }

        #[test]
        fn tax_is_within_half_a_cent_of_the_exact_amount(minor in 0i64..100_000_000, millionths in 0u32..=500_000) {
            let rate = TaxRate::of_millionths(millionths);
            let tax = Money::new(minor, Currency::Usd).tax(rate).map(|tax| tax.minor);
            let exact_times_a_million = i128::from(minor) * i128::from(millionths);
            let error = i128::from(tax.unwrap_or(i64::MIN)) * 1_000_000 - exact_times_a_million;
            prop_assert!(error.abs() <= 500_000);
            prop_assert_eq!(TaxRate::stored(rate.basis_points(), Some(millionths)), rate);
        }
    }

    #[test]
    fn an_amount_too_large_is_refused_rather_than_wrapped() {
        let most = Money::new(i64::MAX, Currency::Usd);
        assert_eq!(most.times(2), Err(MoneyError::Overflow));
        assert_eq!(
            most.plus(Money::new(1, Currency::Usd)),
            Err(MoneyError::Overflow)
        );
        assert_eq!(
            most.plus(Money::new(1, Currency::Eur)),
            Err(MoneyError::CurrencyMismatch(Currency::Usd, Currency::Eur))
        );
    }

    #[test]
    fn half_a_cent_is_rounded_away_from_zero() {
        let half = |minor| {
            Money::new(minor, Currency::Usd)
                .tax(TaxRate::MAX)
                .map(|tax| tax.minor)
        };
        assert_eq!([-3, -1, 0, 1, 3].map(half), [-2, -1, 0, 1, 2].map(Ok));
    }

    #[test]
    fn a_rate_has_four_decimals_of_a_percent() {
        // Twenty lattes at 4.60 in New York City, where the sales tax is 8.875 %.
        let tax = Money::new(20 * 460, Currency::Usd)
            .tax(TaxRate::of_millionths(88_750))
            .map(|tax| tax.minor);
        assert_eq!(tax, Ok(817), "8.165");
        assert_eq!(TaxRate::of_millionths(88_750).basis_points(), 888);
        let read = [88_750, 90_000, 0, 500_000, 1]
            .map(|millionths| TaxRate::of_millionths(millionths).to_string());
        assert_eq!(read, ["8.875 %", "9 %", "0 %", "50 %", "0.0001 %"]);
    }

    #[test]
    fn basis_points_alone_count_where_the_millionths_are_missing_or_older() {
        assert_eq!(TaxRate::stored(887, None), TaxRate::of_millionths(88_700));
        for basis_points in [887, 888] {
            assert_eq!(
                TaxRate::stored(basis_points, Some(88_750)),
                TaxRate::of_millionths(88_750),
                "either rounding"
            );
        }
        assert_eq!(
            TaxRate::stored(900, Some(88_750)),
            TaxRate::of_millionths(90_000),
            "somebody set it since"
        );
    }

    #[test]
    fn a_currency_is_known_by_its_code_alone() {
        for (code, currency) in [
            ("USD", Currency::Usd),
            ("EUR", Currency::Eur),
            ("GBP", Currency::Gbp),
        ] {
            assert_eq!(
                (currency.code(), Currency::from_code(code)),
                (code, Some(currency))
            );
        }
        assert_eq!(["usd", "", "XXX"].map(Currency::from_code), [None; 3]);
    }

    #[test]
    fn an_amount_reads_as_people_write_it() {
        assert_eq!(Money::zero(Currency::Gbp).to_string(), "£0.00");
        assert_eq!(Money::new(450, Currency::Usd).to_string(), "$4.50");
        assert_eq!(Money::new(-5, Currency::Eur).to_string(), "-€0.05");
    }
}
