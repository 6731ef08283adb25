//! What an image is called: `ghcr.io/acme/shop:1.2`. A name without a registry is Docker's.

use std::fmt;
use std::str::FromStr;

use crate::wire::is_loopback;

/// The registry of names that name none.
pub const DOCKER: &str = "docker.io";
/// Where that registry listens.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// A name with a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry: `ghcr.io`, `localhost:5000`.
    pub registry: String,
    /// The repository in it: `acme/shop`.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

impl Reference {
    /// The name as people write it: without Docker's registry and folder.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.registry != DOCKER {
            return self.to_string();
        }
        let repository = self.repository.strip_prefix("library/").unwrap_or(&self.repository);
        format!("{repository}:{}", self.tag)
    }

    /// Registry and repository.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Where the registry listens.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.registry == DOCKER { DOCKER_HOST } else { &self.registry }
    }

    /// Whether the registry is on this machine.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        is_loopback(host_of(&self.registry))
    }
}

/// The host without its port and without brackets.
fn host_of(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    registry.split(':').next().unwrap_or(registry)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(format!("`{text}` names a digest; write a tag: NAME:TAG"));
        }
        if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
            return Err(format!("an image is called without the scheme: {rest}"));
        }
        let (registry, rest) = match text.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DOCKER, text),
        };
        let (repository, tag) =
            rest.rsplit_once(':').ok_or_else(|| format!("`{text}` has no tag; write {text}:TAG"))?;
        if !repository.split('/').all(is_repository_part) {
            let message = "is no name of an image: lower-case letters, digits, `.`, `_`, `-` between slashes";
            return Err(format!("`{repository}` {message}"));
        }
        if !is_tag(tag) {
            return Err(format!("`{tag}` is no tag: letters, digits, `.`, `_`, `-`, at most 128"));
        }
        let registry = if registry == "index.docker.io" { DOCKER } else { registry };
        let is_short = registry == DOCKER && !repository.contains('/');
        let repository = if is_short { format!("library/{repository}") } else { repository.to_owned() };
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.to_owned() })
    }
}

/// As Docker decides: a dot, a port or `localhost` makes the first part a registry.
fn is_registry(part: &str) -> bool {
    let is_letter =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']');
    let begins = part.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '[');
    begins && (part.contains(['.', ':']) || part == "localhost") && part.chars().all(is_letter)
}

fn is_repository_part(part: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    part.starts_with(is_plain)
        && part.ends_with(is_plain)
        && part.chars().all(|letter| is_plain(letter) || matches!(letter, '.' | '_' | '-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    tag.len() <= 128
        && tag.starts_with(is_word)
        && tag.chars().all(|letter| is_word(letter) || matches!(letter, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<String, String> {
        text.parse::<Reference>().map(|reference| reference.to_string())
    }

    #[test]
    fn a_name_is_completed_as_docker_completes_it() {
        assert_eq!(whole("shop:1").unwrap(), "docker.io/library/shop:1");
        assert_eq!(whole("acme/shop:1").unwrap(), "docker.io/acme/shop:1");
        assert_eq!(whole("ghcr.io/acme/shop:v1.0-rc_1").unwrap(), "ghcr.io/acme/shop:v1.0-rc_1");
        assert_eq!(whole("localhost/shop:1").unwrap(), "localhost/shop:1");
        assert_eq!(whole("127.0.0.1:5000/shop:1").unwrap(), "127.0.0.1:5000/shop:1");
        assert_eq!("shop:1".parse::<Reference>().unwrap().familiar(), "shop:1");
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_the_reason() {
        insta::assert_snapshot!(whole("ghcr.io/acme/shop").unwrap_err(), @"`ghcr.io/acme/shop` has no tag; write ghcr.io/acme/shop:TAG");
        insta::assert_snapshot!(whole("https://ghcr.io/shop:1").unwrap_err(), @"an image is called without the scheme: ghcr.io/shop:1");
        for text in ["Shop:1", "shop:", "shop:-1", ":1", "a//b:1", "../x:1", "shop@sha256:00", "shop:a b"] {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_by_any_of_its_names() {
        let here = |text: &str| text.parse::<Reference>().unwrap().is_on_this_machine();
        assert!(here("localhost:5000/a:1") && here("127.0.0.1:5000/a:1") && here("[::1]:5000/a:1"));
        assert!(!here("localhost.evil.example/a:1") && !here("127.0.0.1.evil.example/a:1") && !here("a:1"));
    }
}
