//! Who belongs to a shop in pieces: a seat for every process.

use std::fmt;
use std::str::FromStr;

use platform::app::Role;

/// More processes of one service than this is a slip of the finger.
const REPLICAS_MAX: u32 = 16;

/// How many processes a service has: `order=2,payment=2`. A service that is not named has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    counts: Vec<(Role, u32)>,
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut counts: Vec<(Role, u32)> = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, count) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}` is not NAME=COUNT, as in order=2"))?;
            let role = match name.trim().parse::<Role>()? {
                role @ Role::Service(_) => role,
                other => return Err(format!("`{other}` is one process; replicas are for services")),
            };
            let count = count
                .trim()
                .parse()
                .ok()
                .filter(|count| (1..=REPLICAS_MAX).contains(count))
                .ok_or_else(|| format!("`{count}` is not a count from 1 to {REPLICAS_MAX}"))?;
            if counts.iter().any(|(known, _)| *known == role) {
                return Err(format!("`{role}` is named twice"));
            }
            counts.push((role, count));
        }
        Ok(Self { counts })
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.counts.iter().map(|(role, count)| format!("{role}={count}")).collect();
        f.write_str(&words.join(","))
    }
}

impl Replicas {
    /// Whether all services have one process, as they have when nobody says otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn of(&self, role: Role) -> u32 {
        self.counts.iter().find(|(known, _)| *known == role).map_or(1, |(_, count)| *count)
    }

    /// Every seat of the shop: the gateway, the provider, and the services with their replicas.
    #[must_use]
    pub fn seats(&self) -> Vec<Seat> {
        let alone = [Role::Gateway, Role::Fakepay].map(|role| Seat { role, number: 1 });
        let services =
            Role::services().flat_map(|role| (1..=self.of(role)).map(move |number| Seat { role, number }));
        alone.into_iter().chain(services).collect()
    }
}

/// The place of one process; whoever sits there may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What it is.
    pub role: Role,
    /// Which of the replicas, from 1.
    pub number: u32,
}

impl Seat {
    /// Whether it keeps data in the shop's database.
    #[must_use]
    pub fn needs_database(self) -> bool {
        self.role != Role::Fakepay
    }

    /// At a stop, the place in line: the public face first, so that nothing new comes in; whoever is called by
    /// others after them; the provider last.
    #[must_use]
    pub fn leaves_in_round(self) -> usize {
        match self.role {
            Role::Gateway | Role::All => 0,
            Role::Service("order") => 1,
            Role::Service(_) => 2,
            Role::Fakepay => 3,
        }
    }
}

/// How many rounds [`Seat::leaves_in_round`] knows.
pub const ROUNDS: usize = 4;

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_seat_and_those_named_have_more() {
        let names = |text: &str| {
            let replicas: Replicas = text.parse().unwrap();
            replicas.seats().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            names(""),
            ["gateway-1", "fakepay-1", "user-1", "product-1", "order-1", "payment-1", "notification-1"]
        );
        assert_eq!(names("order=2, payment=3").len(), 10);
        assert!(names("order=2").contains(&"order-2".to_owned()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_word_at_fault() {
        let refused = |text: &str| text.parse::<Replicas>().unwrap_err();
        assert!(refused("order").contains("NAME=COUNT"));
        assert!(refused("orders=2").contains("no role `orders`"));
        assert!(refused("gateway=2").contains("one process"));
        assert!(refused("order=0").contains("from 1 to 16"));
        assert!(refused("order=2,order=3").contains("twice"));
    }

    #[test]
    fn what_is_said_again_is_what_was_said() {
        let replicas: Replicas = "order=2,user=3".parse().unwrap();
        assert_eq!(replicas.to_string().parse(), Ok(replicas));
    }
}
