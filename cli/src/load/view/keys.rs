//! What the keys mean.

use crate::output::Key;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold arrivals back, or let them come again.
    Pause,
    /// More load.
    More,
    /// Less load.
    Less,
    /// Start nothing more, wait for the answers, judge what there is.
    Stop,
    /// What Ctrl-C means: the first time to stop, the second not to wait for the answers either.
    Interrupt,
    /// Say what the keys mean, or stop saying so.
    Help,
}

/// What the key asks for, when it asks for anything.
#[must_use]
pub fn action(key: Key) -> Option<Action> {
    Some(match key {
        Key::Letter('p' | ' ') => Action::Pause,
        // The plus without the shift key.
        Key::Letter('+' | '=') => Action::More,
        Key::Letter('-' | '_') => Action::Less,
        Key::Letter('q') => Action::Stop,
        Key::Letter('?' | 'h') => Action::Help,
        Key::Interrupt => Action::Interrupt,
        Key::Letter(_) => return None,
    })
}

/// What the load may be multiplied with.
const FACTORS: [f64; 13] = [0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0];

/// The next factor over `factor`, or the highest.
pub(super) fn more(factor: f64) -> f64 {
    FACTORS.into_iter().find(|next| *next > factor).unwrap_or(FACTORS[FACTORS.len() - 1])
}

/// The next factor under `factor`, or the lowest.
pub(super) fn less(factor: f64) -> f64 {
    FACTORS.into_iter().rev().find(|next| *next < factor).unwrap_or(FACTORS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_meaning() {
        let told: Vec<String> = (' '..='~')
            .map(Key::Letter)
            .chain([Key::Interrupt])
            .filter_map(|key| Some(format!("{key:?} {:?}", action(key)?)))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        Letter(' ') Pause
        Letter('+') More
        Letter('-') Less
        Letter('=') More
        Letter('?') Help
        Letter('_') Less
        Letter('h') Help
        Letter('p') Pause
        Letter('q') Stop
        Interrupt Interrupt
        ");
    }

    #[test]
    fn more_and_less_go_the_same_way_up_and_down_and_end_somewhere() {
        let mut factor = 1.0;
        for up in [1.25, 1.5, 2.0, 3.0] {
            factor = more(factor);
            assert_eq!(factor, up);
        }
        for down in [2.0, 1.5, 1.25, 1.0, 0.75] {
            factor = less(factor);
            assert_eq!(factor, down);
        }
        assert_eq!([more(10.0), more(9.0), less(0.1), less(0.15)], [10.0, 10.0, 0.1, 0.1]);
    }
}
