//! Money in integer minor units. There is no float on any path of a price.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ISO 4217 code of a currency with two decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    Usd,
    Eur,
    Gbp,
}

impl Currency {
    pub const ALL: [Currency; 3] = [Currency::Usd, Currency::Eur, Currency::Gbp];

    pub const fn code(self) -> &'static str {
        match self {
            Currency::Usd => "USD",
            Currency::Eur => "EUR",
            Currency::Gbp => "GBP",
        }
    }

    const fn symbol(self) -> &'static str {
        match self {
            Currency::Usd => "$",
            Currency::Eur => "€",
            Currency::Gbp => "£",
        }
    }

    /// The currency of an upper-case ISO code; `None` for one the shop does not trade in.
    pub fn from_code(code: &str) -> Option<Currency> {
        Currency::ALL.into_iter().find(|currency| currency.code() == code)
    }
}

/// An amount in minor units (cents).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

/// Why an amount could not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("amounts in {0:?} and {1:?} cannot be added")]
    CurrencyMismatch(Currency, Currency),
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The sum, or an error for two currencies or an overflow.
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    pub fn times(self, count: u32) -> Result<Money, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(count)).ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// The tax on this amount, rounded half away from zero to the minor unit.
    pub fn tax(self, rate: TaxRate) -> Result<Money, MoneyError> {
        let scaled = self.minor.checked_mul(i64::from(rate.basis_points)).ok_or(MoneyError::Overflow)?;
        let half = if scaled < 0 { -5_000 } else { 5_000 };
        let minor = scaled.checked_add(half).ok_or(MoneyError::Overflow)? / 10_000;
        Ok(Money { minor, ..self })
    }

    /// Splits into `parts` amounts that differ by at most one minor unit and sum to this one. Empty for zero parts.
    pub fn split(self, parts: u32) -> Vec<Money> {
        if parts == 0 {
            return Vec::new();
        }
        let count = i64::from(parts);
        let (each, rest) = (self.minor.div_euclid(count), self.minor.rem_euclid(count));
        (0..count).map(|part| Money { minor: each + i64::from(part < rest), ..self }).collect()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(f, "{sign}{}{}.{:02}", self.currency.symbol(), minor / 100, minor % 100)
    }
}

/// A sales tax in hundredths of a percent: 887 is 8.87 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxRate {
    pub basis_points: u32,
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
        fn tax_is_within_half_a_cent_of_the_exact_amount(minor in 0i64..100_000_000, basis_points in 0u32..3_000) {
            let tax = Money::new(minor, Currency::Usd).tax(TaxRate { basis_points }).map(|tax| tax.minor);
            let exact_times_ten_thousand = i128::from(minor) * i128::from(basis_points);
            let error = i128::from(tax.unwrap_or(i64::MIN)) * 10_000 - exact_times_ten_thousand;
            prop_assert!(error.abs() <= 5_000);
        }
    }

    #[test]
    fn an_amount_too_large_is_refused_rather_than_wrapped() {
        let most = Money::new(i64::MAX, Currency::Usd);
        assert_eq!(most.times(2), Err(MoneyError::Overflow));
        assert_eq!(most.plus(Money::new(1, Currency::Usd)), Err(MoneyError::Overflow));
        assert_eq!(
            most.plus(Money::new(1, Currency::Eur)),
            Err(MoneyError::CurrencyMismatch(Currency::Usd, Currency::Eur))
        );
    }

    #[test]
    fn half_a_cent_is_rounded_away_from_zero() {
        let half = |minor| Money::new(minor, Currency::Usd).tax(TaxRate { basis_points: 5_000 }).map(|tax| tax.minor);
        assert_eq!([-3, -1, 0, 1, 3].map(half), [-2, -1, 0, 1, 2].map(Ok));
    }

    #[test]
    fn a_currency_is_known_by_its_code_alone() {
        for (code, currency) in [("USD", Currency::Usd), ("EUR", Currency::Eur), ("GBP", Currency::Gbp)] {
            assert_eq!((currency.code(), Currency::from_code(code)), (code, Some(currency)));
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
