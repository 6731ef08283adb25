//! Money in whole minor units. Every operation is checked: an overflow is an error, never a wrap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a sum of money could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit in 64 bits.
    #[error("the amount is too large")]
    Overflow,
    /// Two currencies met.
    #[error("{0} and {1} cannot be added")]
    CurrencyMismatch(Currency, Currency),
}

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// United States dollar.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Currency {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            [a, b, c] if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                Ok(Self([*a, *b, *c].map(|byte| byte.to_ascii_uppercase())))
            }
            _ => Err(format!("`{text}` is not a three-letter currency code")),
        }
    }
}
impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount in the currency's minor unit: `{"amount": 1999, "currency": "USD"}` is $19.99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units (cents).
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// `amount` minor units of `currency`.
    #[must_use]
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing, in `currency`.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.amount == 0
    }

    /// The sum, when the currencies agree and it fits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.agree(other)?;
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(amount, self.currency))
    }

    /// The difference, when the currencies agree and it fits.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.agree(other)?;
        let amount = self.amount.checked_sub(other.amount).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(amount, self.currency))
    }

    /// `times` as much, when it fits.
    pub fn checked_mul(self, times: i64) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(times).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(amount, self.currency))
    }

    fn agree(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.amount < 0 { "-" } else { "" };
        let (units, cents) = (self.amount.unsigned_abs() / 100, self.amount.unsigned_abs() % 100);
        let mut grouped = units.to_string();
        let mut at = grouped.len();
        while at > 3 {
            at -= 3;
            grouped.insert(at, ',');
        }
        match self.currency {
            Currency::USD => write!(f, "{sign}${grouped}.{cents:02}"),
            other => write!(f, "{sign}{grouped}.{cents:02} {other}"),
        }
    }
}

/// Shares `total` over `weights` in proportion, so that the shares add up to `total` exactly: the units that
/// rounding leaves over go to the largest remainders, earlier lines first among equals.
///
/// Weights are not negative; when all are zero, every share is zero and `total` must be too, else
/// [`MoneyError::Overflow`].
pub fn allocate(total: i64, weights: &[i64]) -> Result<Vec<i64>, MoneyError> {
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if sum == 0 {
        return if total == 0 { Ok(vec![0; weights.len()]) } else { Err(MoneyError::Overflow) };
    }
    let mut shares = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (line, weight) in weights.iter().enumerate() {
        let exact = i128::from(total) * i128::from(*weight);
        shares.push(i64::try_from(exact.div_euclid(sum)).map_err(|_| MoneyError::Overflow)?);
        remainders.push((exact.rem_euclid(sum), line));
    }
    let given: i128 = shares.iter().map(|share| i128::from(*share)).sum();
    let left = usize::try_from(i128::from(total) - given).map_err(|_| MoneyError::Overflow)?;
    remainders.sort_by(|one, two| two.0.cmp(&one.0).then(one.1.cmp(&two.1)));
    for (_, line) in remainders.into_iter().take(left) {
        shares[line] += 1;
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_reads_like_money() {
        let shown = |amount| Money::new(amount, Currency::USD).to_string();
        assert_eq!(shown(1999), "$19.99");
        assert_eq!(shown(-5), "-$0.05");
        assert_eq!(shown(123_456_789), "$1,234,567.89");
        assert_eq!(shown(i64::MIN), "-$92,233,720,368,547,758.08");
    }

    #[test]
    fn an_overflow_is_an_error() {
        let most = Money::new(i64::MAX, Currency::USD);
        assert_eq!(most.checked_add(Money::new(1, Currency::USD)), Err(MoneyError::Overflow));
        assert_eq!(most.checked_mul(2), Err(MoneyError::Overflow));
    }

    #[test]
    fn the_largest_remainder_gets_the_odd_cent() {
        assert_eq!(allocate(100, &[1, 1, 1]), Ok(vec![34, 33, 33]));
        assert_eq!(allocate(5, &[3, 7]), Ok(vec![2, 3]));
        assert_eq!(allocate(0, &[0, 0]), Ok(vec![0, 0]));
        assert_eq!(allocate(1, &[0]), Err(MoneyError::Overflow));
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_total_and_stay_in_proportion(
            total in 0i64..=i64::MAX,
            weights in prop::collection::vec(0i64..1_000_000_000_000, 1..12),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let shares = allocate(total, &weights).expect("it fits");
            prop_assert_eq!(shares.iter().map(|share| i128::from(*share)).sum::<i128>(), i128::from(total));
            let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let exact = i128::from(total) * i128::from(*weight) / sum;
                prop_assert!((i128::from(*share) - exact).abs() <= 1);
            }
        }
    }
}
