//! Label selectors as Kubernetes writes them into a query: `service=order,queue in (order, notification),!canary`.

use std::collections::BTreeMap;

/// What the labels of a series must be like; all of it at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    /// Also true where there is no such label.
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
}

const SIGNS: [&str; 8] = ["==", "!=", "=", "!", "(", ")", ",", "<"];

impl Selector {
    /// Reads `text`; an empty one selects everything.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(requirement(&mut rest)?);
            match rest.split_first() {
                None => {}
                Some((Token::Sign(","), after)) if !after.is_empty() => rest = after,
                Some((token, _)) => return Err(format!("`{}` is not expected there", token.text())),
            }
        }
        Ok(Self(found))
    }

    /// Whether a series with `labels` is selected.
    pub(super) fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.0.iter().all(|Requirement { key, rule }| {
            let value = labels.get(key.as_str());
            let is_one_of =
                |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
            match rule {
                Rule::In(values) => is_one_of(values),
                Rule::NotIn(values) => !is_one_of(values),
                Rule::Exists => value.is_some(),
                Rule::Absent => value.is_none(),
            }
        })
    }
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Sign(text) => text,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let token = match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Token::Sign(&rest[..sign.len()]),
            None => {
                let ends = |letter: char| letter.is_whitespace() || "=!(),<>".contains(letter);
                Token::Word(&rest[..rest.find(ends).unwrap_or(rest.len())])
            }
        };
        if token.text().is_empty() || token == Token::Sign("<") {
            return Err("labels are not compared by size".to_owned());
        }
        found.push(token);
        rest = rest[token.text().len()..].trim_start();
    }
    Ok(found)
}

fn requirement(rest: &mut &[Token<'_>]) -> Result<Requirement, String> {
    if let [Token::Sign("!"), after @ ..] = *rest {
        *rest = after;
        return Ok(Requirement { key: word(rest)?, rule: Rule::Absent });
    }
    let key = word(rest)?;
    let rule = match *rest {
        [Token::Sign("=" | "=="), after @ ..] => {
            *rest = after;
            Rule::In(vec![value(rest)])
        }
        [Token::Sign("!="), after @ ..] => {
            *rest = after;
            Rule::NotIn(vec![value(rest)])
        }
        [Token::Word("in"), Token::Sign("("), after @ ..] => {
            *rest = after;
            Rule::In(values(rest)?)
        }
        [Token::Word("notin"), Token::Sign("("), after @ ..] => {
            *rest = after;
            Rule::NotIn(values(rest)?)
        }
        _ => Rule::Exists,
    };
    Ok(Requirement { key, rule })
}

fn word(rest: &mut &[Token<'_>]) -> Result<String, String> {
    match rest.split_first() {
        Some((Token::Word(text), after)) => {
            *rest = after;
            Ok((*text).to_owned())
        }
        Some((Token::Sign(sign), _)) => Err(format!("`{sign}` stands where a label should")),
        None => Err("it ends where a label should follow".to_owned()),
    }
}

/// A label's value, which may be empty.
fn value(rest: &mut &[Token<'_>]) -> String {
    word(rest).unwrap_or_default()
}

/// Values with commas between them, up to the closing parenthesis.
fn values(rest: &mut &[Token<'_>]) -> Result<Vec<String>, String> {
    let mut found = vec![value(rest)];
    loop {
        match rest.split_first() {
            Some((Token::Sign(")"), after)) => {
                *rest = after;
                return Ok(found);
            }
            Some((Token::Sign(","), after)) => {
                *rest = after;
                found.push(value(rest));
            }
            _ => return Err("a list of values has no end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(text: &str) -> bool {
        let labels = BTreeMap::from([("service", "order"), ("queue", "order")]);
        Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&labels)
    }

    #[test]
    fn a_selector_means_what_it_means_to_kubernetes() {
        for text in [
            "",
            "service=order",
            "service==order",
            "service = order , queue = order",
            "service!=payment",
            "canary!=yes",
            "queue in (order)",
            "queue in (notification, order)",
            "queue notin (notification,mail)",
            "canary notin (yes)",
            "service",
            "!canary",
            "service,!canary,queue in (order)",
        ] {
            assert!(selects(text), "{text}");
        }
        for text in [
            "service=payment",
            "service=order,queue=notification",
            "service!=order",
            "queue in (notification)",
            "queue notin (order)",
            "canary",
            "!service",
            "service=",
            "canary=",
            "queue in ()",
        ] {
            assert!(!selects(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "=order",
            "service=order,",
            ",service",
            "service=order queue=order",
            "queue in (order",
            "queue in order",
            "service>1",
            "service<1",
            "!",
            "!!service",
            "service==!order",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
