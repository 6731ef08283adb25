//! A text with places for facts: a small, safe part of Mustache.

use serde_json::Value;

/// Why a text could not be read or filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    /// The text itself is wrong: a bug, found by the tests.
    #[error("the text is broken: {0}")]
    Broken(String),
    /// Something that the text names is not there.
    #[error("{0} is not known")]
    Absent(String),
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Words(String),
    Fact(String),
    Section { name: String, when_known: bool, nodes: Vec<Node> },
}

impl Text {
    pub(super) fn parse(source: &str) -> Result<Self, TextError> {
        let nodes = Parser { source, at: 0 }.until(None)?;
        Ok(Self { nodes })
    }

    /// The text with the facts in their places.
    pub(super) fn render(&self, facts: &Value) -> Result<String, TextError> {
        let mut text = String::new();
        fill(&self.nodes, &[facts], &mut text)?;
        Ok(text)
    }
}

struct Parser<'source> {
    source: &'source str,
    at: usize,
}

impl<'source> Parser<'source> {
    /// Reads up to the end, or to the end of section `open`.
    fn until(&mut self, open: Option<&str>) -> Result<Vec<Node>, TextError> {
        let mut nodes = Vec::new();
        loop {
            let rest = &self.source[self.at..];
            let Some(begin) = rest.find("{{") else {
                if let Some(name) = open {
                    return Err(TextError::Broken(format!("`{name}` is not closed")));
                }
                self.at = self.source.len();
                nodes.push(Node::Words(rest.to_owned()));
                return Ok(nodes);
            };
            nodes.push(Node::Words(rest[..begin].to_owned()));
            let tag = self.tag(self.at + begin)?;
            match (tag.get(..1), tag.get(1..)) {
                (Some("/"), name) if name == open => return Ok(nodes),
                (Some("/"), _) => return Err(TextError::Broken(format!("`{tag}` closes nothing"))),
                (Some(mark @ ("#" | "^")), Some(name)) => {
                    let inner = self.until(Some(name))?;
                    let name = name.to_owned();
                    nodes.push(Node::Section { name, when_known: mark == "#", nodes: inner });
                }
                _ => nodes.push(Node::Fact(tag.trim().to_owned())),
            }
        }
    }

    /// Reads the tag that begins at `begin`. A line that holds nothing but the beginning or the end of a section is
    /// not a line of the text: its end is passed over too.
    fn tag(&mut self, begin: usize) -> Result<&'source str, TextError> {
        let (tag, after) = self.source[begin + 2..]
            .split_once("}}")
            .ok_or_else(|| TextError::Broken("`{{` without `}}`".to_owned()))?;
        let before = &self.source[..begin];
        let begins_line = before.is_empty() || before.ends_with('\n');
        let stands_alone = begins_line && tag.starts_with(['#', '^', '/']) && after.starts_with('\n');
        self.at = self.source.len() - after.len() + usize::from(stands_alone);
        Ok(tag)
    }
}

fn fill(nodes: &[Node], scopes: &[&Value], text: &mut String) -> Result<(), TextError> {
    for node in nodes {
        match node {
            Node::Words(words) => text.push_str(words),
            Node::Fact(name) => match find(scopes, name) {
                Some(Value::String(fact)) => text.push_str(fact),
                Some(Value::Number(fact)) => text.push_str(&fact.to_string()),
                _ => return Err(TextError::Absent(format!("the fact `{name}`"))),
            },
            Node::Section { name, when_known, nodes } => {
                let known = find(scopes, name);
                match (known, when_known) {
                    (Some(Value::Array(entries)), true) => {
                        for entry in entries {
                            fill(nodes, &[scopes, &[entry]].concat(), text)?;
                        }
                    }
                    (Some(_), true) | (None, false) => fill(nodes, scopes, text)?,
                    (Some(_), false) | (None, true) => {}
                }
            }
        }
    }
    Ok(())
}

/// The innermost fact of that name; null is not known.
fn find<'facts>(scopes: &[&'facts Value], name: &str) -> Option<&'facts Value> {
    scopes.iter().rev().find_map(|scope| scope.get(name)).filter(|fact| !fact.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(source: &str, facts: Value) -> Result<String, TextError> {
        Text::parse(source)?.render(&facts)
    }

    #[test]
    fn facts_lists_and_absences_are_filled_in() {
        let list = "{{#lines}}\n- {{title}} of {{shop}}\n{{/lines}}\nend";
        let facts = json!({"shop": "S", "lines": [{"title": "a"}, {"title": "b"}]});
        assert_eq!(filled(list, facts), Ok("- a of S\n- b of S\nend".to_owned()));
        let choice = "{{#a}}has {{a}}{{/a}}{{^a}}has none{{/a}}";
        assert_eq!(filled(choice, json!({"a": 7})), Ok("has 7".to_owned()));
        assert_eq!(filled(choice, json!({"a": null})), Ok("has none".to_owned()));
        assert_eq!(filled("one {{ a }}", json!({"a": "x"})), Ok("one x".to_owned()));
    }

    #[test]
    fn a_fact_is_never_read_as_a_text() {
        assert_eq!(filled("{{a}}", json!({"a": "{{b}}"})), Ok("{{b}}".to_owned()));
    }

    #[test]
    fn a_broken_text_says_where() {
        for source in ["{{a", "{{#a}}x", "{{/a}}", "{{#a}}{{/b}}"] {
            assert!(matches!(Text::parse(source), Err(TextError::Broken(_))), "{source}");
        }
    }
}
