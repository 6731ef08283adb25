//! The numbers that a page states, and whether a claim covers them.

use super::CLAIMS;

/// Words with a number in them that state nothing that could be measured.
pub const NOT_CLAIMS: &[&str] = &[
    "127.0.0.1:8080",
    "127.0.0.1",
    "x86_64",
    "SHA-256",
    "RFC 9457",
    "UUIDv7",
    "PostgreSQL 15",
    "HTTP/1.1",
    "/v1",
    "Ed25519",
    "UTF-8",
    "Apache-2.0",
];

/// Every number in the prose of `page` that neither a claim nor the list of names covers, with its line.
/// Code, addresses and the numbers of a list or a heading are not prose.
#[must_use]
pub fn uncovered(page: &str) -> Vec<(usize, String)> {
    let covered: Vec<&str> =
        CLAIMS.iter().flat_map(|claim| claim.stated).chain(NOT_CLAIMS).copied().collect();
    let mut found = Vec::new();
    let mut is_code = false;
    for (at, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        if is_code {
            continue;
        }
        let mut prose = prose(line);
        for words in &covered {
            prose = prose.replace(words, " ");
        }
        found.extend(numbers(&prose).map(|number| (at + 1, number)));
    }
    found
}

/// The line without inline code, addresses of links, and the number of a list.
fn prose(line: &str) -> String {
    let without_code: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    let mut rest = without_code.as_str();
    while let Some(start) = rest.find("](") {
        text.push_str(&rest[..start]);
        rest = rest[start..].split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let trimmed = text.trim_start();
    let digits = trimmed.len() - trimmed.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let is_list = digits > 0 && trimmed[digits..].starts_with(". ");
    if is_list { trimmed[digits..].to_owned() } else { text }
}

/// The runs of digits, with the separators inside them.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | ',')))
        .map(|run| run.trim_matches(['.', ',']).to_owned())
        .filter(|run| !run.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_claim_covers_is_found_with_its_line() {
        let page = "It holds ≤ 40 MiB.\nAnd it makes 12,345 wishes come true.\n";
        assert_eq!(uncovered(page), [(2, "12,345".to_owned())]);
    }

    #[test]
    fn code_links_and_list_numbers_state_nothing() {
        let page = "1. one\n12. run `x --port 9999`\n[a link](docs/adr/0001-x.md)\n```\n77\n```\non 127.0.0.1:8080\n";
        assert_eq!(uncovered(page), []);
    }
}
