//! Scenarios: what load to make, in a TOML file that can be copied, changed and passed with `--file`.
//!
//! [`SCENARIOS`] are those that come with shopctl. A file says who decides when the next journey starts, how the
//! load rises and falls, which journeys are made how often, and what has to be met.
//!
//! # Adding one
//! A file in `scenarios/` and a line in [`SCENARIOS`].

mod check;
mod file;
mod flags;
mod profile;

use crate::failure::{Exit, Failure, nearest};

pub use file::{
    Arrivals, Bounds, Checkout, FlashSale, LoadPart, Mix, Probe, Profile, ProfileKind, Scenario, SignedIn,
    Think, ThinkKind,
};
pub use flags::Flags;

/// A scenario that comes with shopctl.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its file, as it is copied.
    pub text: &'static str,
}

/// The scenarios that come with shopctl, the simplest first.
pub const SCENARIOS: &[BuiltIn] = &[
    BuiltIn { name: "browse", text: include_str!("../scenarios/browse.toml") },
    BuiltIn { name: "search", text: include_str!("../scenarios/search.toml") },
    BuiltIn { name: "cart", text: include_str!("../scenarios/cart.toml") },
    BuiltIn { name: "checkout", text: include_str!("../scenarios/checkout.toml") },
    BuiltIn { name: "returning-customer", text: include_str!("../scenarios/returning-customer.toml") },
    BuiltIn { name: "mixed", text: include_str!("../scenarios/mixed.toml") },
    BuiltIn { name: "flash-sale", text: include_str!("../scenarios/flash-sale.toml") },
    BuiltIn { name: "spike", text: include_str!("../scenarios/spike.toml") },
    BuiltIn { name: "ten-thousand", text: include_str!("../scenarios/ten-thousand.toml") },
    BuiltIn { name: "soak", text: include_str!("../scenarios/soak.toml") },
    BuiltIn { name: "knee", text: include_str!("../scenarios/knee.toml") },
];

/// The scenario called `name`.
///
/// # Errors
/// When there is none; the nearest is suggested.
pub fn find(name: &str) -> Result<&'static BuiltIn, Failure> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let hint = match nearest(name, SCENARIOS.iter().map(|scenario| scenario.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`shopctl load list` lists the scenarios; --file takes one of your own".to_owned(),
        };
        Failure::new(Exit::Usage, "E-SCENARIO", format!("there is no scenario `{name}`")).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_sound_and_is_written_as_it_is_read() {
        for built_in in SCENARIOS {
            let scenario = Scenario::read(built_in.name, built_in.text).unwrap();
            assert!(!scenario.about.is_empty(), "{}", built_in.name);
            let again = Scenario::read(built_in.name, &scenario.to_text()).unwrap();
            assert_eq!(again, scenario, "{}", built_in.name);
        }
    }

    #[test]
    fn a_near_miss_is_suggested() {
        let failure = find("chekout").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(
            crate::failure::Diagnosis::of(&failure.into()).hint.as_deref(),
            Some("did you mean `checkout`?")
        );
    }
}
