//! What a file may say, and what makes sense.

use super::super::journeys::Journey;
use super::file::{Profile, ProfileKind, Scenario};
use crate::failure::{Exit, Failure};

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

impl Scenario {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first thing that does not; `name` is how its file is called.
    pub fn check(&self, name: &str) -> Result<(), Failure> {
        let checks = [
            self.schema_is_known(),
            self.one_model_decides(),
            self.weights_add_up(),
            self.profile_has_its_parts(),
            self.figures_are_in_range(),
        ];
        match checks.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some((message, hint)) => {
                Err(Failure::new(Exit::Config, "E-SCENARIO-FILE", format!("{name}: {message}"))
                    .object(name)
                    .hint(hint))
            }
        }
    }

    fn schema_is_known(&self) -> Result<(), Wrong> {
        match self.schema {
            1 => Ok(()),
            other => Err((
                format!("the file has schema {other}, and this shopctl reads 1"),
                "use the shopctl that wrote it",
            )),
        }
    }

    fn one_model_decides(&self) -> Result<(), Wrong> {
        match (self.load.rate, self.load.users) {
            (Some(_), Some(_)) => Err((
                "`load.rate` and `load.users` exclude each other".to_owned(),
                "keep rate for journeys a second, or users for people who wait for their answers",
            )),
            (None, None) => Err((
                "neither `load.rate` nor `load.users` is given".to_owned(),
                "rate is journeys a second, users is people who wait for their answers",
            )),
            (Some(rate), None) if !(rate > 0.0 && rate <= 1e7) => {
                Err((format!("`load.rate` is {rate}"), "journeys a second, from above 0 to 10000000"))
            }
            (None, Some(users)) if !(1..=1_000_000).contains(&users) => {
                Err((format!("`load.users` is {users}"), "from 1 to 1000000"))
            }
            (None, Some(_)) if self.profile.kind == ProfileKind::Knee => Err((
                "profile `knee` looks for a rate, and `load.users` is given".to_owned(),
                "give `load.rate`: where the search begins",
            )),
            _ => Ok(()),
        }
    }

    fn weights_add_up(&self) -> Result<(), Wrong> {
        let weights = self.mix.weights();
        if let Some((journey, weight)) =
            weights.iter().find(|(_, weight)| !(*weight >= 0.0 && *weight <= 1e6))
        {
            return Err((
                format!("`mix.{}` is {weight}", journey.name()),
                "a weight is a number from 0 to 1000000",
            ));
        }
        if weights.iter().all(|(_, weight)| *weight == 0.0) {
            return Err(("`mix` has no journey".to_owned(), "give at least one a weight, as browse = 1"));
        }
        Ok(())
    }

    fn profile_has_its_parts(&self) -> Result<(), Wrong> {
        let kind = self.profile.kind;
        if let Some(part) = self.profile.named_parts().into_iter().find(|part| !parts_of(kind).contains(part))
        {
            return Err((
                format!("`profile.{part}` means nothing to a profile of kind {}", kind.word()),
                "take it out, or choose the kind that it belongs to",
            ));
        }
        if kind == ProfileKind::Step && self.profile.levels.is_empty() {
            return Err((
                "profile `step` has no `levels`".to_owned(),
                "each is a multiple of the load, as levels = [1, 2, 4]",
            ));
        }
        if let Some(level) = self.profile.levels.iter().find(|level| !(**level > 0.0 && **level <= 1e4)) {
            return Err((format!("a level of the profile is {level}"), "a multiple of the load, above 0"));
        }
        Ok(())
    }

    fn figures_are_in_range(&self) -> Result<(), Wrong> {
        let is_fraction = |value: f64| (0.0..=1.0).contains(&value);
        let timeout = self.bounds.timeout.seconds();
        if !(0.001..=60.0).contains(&timeout) {
            return Err((format!("`bounds.timeout` is {}", self.bounds.timeout), "from 1ms to 1m"));
        }
        if self.bounds.max_in_flight == Some(0) || self.bounds.max_connections == Some(0) {
            return Err(("a bound is 0: nothing could be sent".to_owned(), "give at least 1"));
        }
        if !is_fraction(self.checkout.declined) {
            return Err((
                format!("`checkout.declined` is {}", self.checkout.declined),
                "a fraction, as 0.02",
            ));
        }
        if !is_fraction(self.signed_in.sign_ins_per_s) {
            return Err((
                format!("`signed_in.sign_ins_per_s` is {}", self.signed_in.sign_ins_per_s),
                "from 0 to 1: more would measure nothing but the hashing of passwords",
            ));
        }
        if !(1..=1000).contains(&self.signed_in.accounts) {
            return Err((format!("`signed_in.accounts` is {}", self.signed_in.accounts), "from 1 to 1000"));
        }
        if self.mix.has(Journey::Probe) && !self.probe.path.starts_with('/') {
            return Err((format!("`probe.path` is `{}`", self.probe.path), "a path, as /v1/products"));
        }
        let factors = [self.profile.factor, self.profile.at_most];
        if factors.into_iter().flatten().any(|factor| !(factor > 0.0 && factor <= 1e4)) {
            return Err(("a factor of the profile is out of range".to_owned(), "above 0, at most 10000"));
        }
        if self.profile.precision.is_some_and(|precision| !(0.005..=0.5).contains(&precision)) {
            return Err(("`profile.precision` is out of range".to_owned(), "from 0.005 to 0.5"));
        }
        let total = self.planned_seconds();
        if total.is_some_and(|total| !(0.1..=24.0 * 3600.0).contains(&total)) {
            return Err(("the load lasts no time at all, or over a day".to_owned(), "from 100ms to 24h"));
        }
        Ok(())
    }
}

/// The keys that a kind of profile understands.
fn parts_of(kind: ProfileKind) -> &'static [&'static str] {
    match kind {
        ProfileKind::Constant => &[],
        ProfileKind::Ramp => &["factor", "rise"],
        ProfileKind::Spike => &["factor", "before", "within", "hold", "back", "recover"],
        ProfileKind::Soak => &["rise"],
        ProfileKind::Step => &["levels", "settle", "hold"],
        ProfileKind::Knee => &["settle", "hold", "precision", "at_most"],
    }
}

impl Profile {
    /// The keys that are given.
    fn named_parts(&self) -> Vec<&'static str> {
        let all = [
            ("factor", self.factor.is_some()),
            ("rise", self.rise.is_some()),
            ("before", self.before.is_some()),
            ("within", self.within.is_some()),
            ("hold", self.hold.is_some()),
            ("back", self.back.is_some()),
            ("recover", self.recover.is_some()),
            ("settle", self.settle.is_some()),
            ("levels", !self.levels.is_empty()),
            ("precision", self.precision.is_some()),
            ("at_most", self.at_most.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;

    fn mistake(text: &str) -> Diagnosis {
        let failure = Scenario::read("mine.toml", text).unwrap_err();
        assert_eq!(failure.exit(), Exit::Config);
        Diagnosis::of(&failure.into())
    }

    const HEAD: &str = "schema = 1\nabout = \"x\"\n";

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
        let found = mistake(&format!("{HEAD}[load]\nrate = 5\n[mix]\nbrowse = 1\nchekout = 2\n"));
        assert_eq!(found.message, "mine.toml:7: unknown key `chekout`");
        assert_eq!(found.hint.as_deref(), Some("did you mean `checkout`?"));
        assert!(found.picture.unwrap().contains("chekout = 2"));
        let found = mistake(&format!("{HEAD}[load]\nrte = 5\n[mix]\nbrowse = 1\n"));
        assert_eq!(found.hint.as_deref(), Some("did you mean `rate`?"));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told_with_its_line() {
        let found = mistake(&format!("{HEAD}[load]\nrate = 5\nduration = \"long\"\n[mix]\nbrowse = 1\n"));
        assert!(found.message.starts_with("mine.toml:5: a number with its unit"), "{}", found.message);
        let found = mistake(&format!(
            "{HEAD}objectives = [\"chekout.p99<1s\"]\n[load]\nrate = 5\n[mix]\nbrowse = 1\n"
        ));
        assert!(found.message.contains("mine.toml:3: there is no step `chekout`"), "{}", found.message);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let both = mistake(&format!("{HEAD}[load]\nrate = 5\nusers = 5\n[mix]\nbrowse = 1\n"));
        assert!(both.message.contains("exclude each other"), "{}", both.message);
        let none = mistake(&format!("{HEAD}[load]\n[mix]\nbrowse = 1\n"));
        assert!(none.message.contains("neither"), "{}", none.message);
        let empty = mistake(&format!("{HEAD}[load]\nrate = 5\n[mix]\n"));
        assert!(empty.message.contains("no journey"), "{}", empty.message);
        let stray =
            mistake(&format!("{HEAD}[load]\nrate = 5\n[mix]\nbrowse = 1\n[profile]\nback = \"1s\"\n"));
        assert!(stray.message.contains("`profile.back` means nothing"), "{}", stray.message);
        let knee =
            mistake(&format!("{HEAD}[load]\nusers = 5\n[mix]\nbrowse = 1\n[profile]\nkind = \"knee\"\n"));
        assert!(knee.message.contains("looks for a rate"), "{}", knee.message);
        let often =
            mistake(&format!("{HEAD}[load]\nrate = 5\n[mix]\nbrowse = 1\n[signed_in]\nsign_ins_per_s = 9\n"));
        assert!(often.message.contains("sign_ins_per_s"), "{}", often.message);
        let newer = mistake("schema = 2\nabout = \"x\"\n[load]\nrate = 5\n[mix]\nbrowse = 1\n");
        assert!(newer.message.contains("schema 2"), "{}", newer.message);
    }
}
