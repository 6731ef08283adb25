//! The rules of accounts, without a database: what an e-mail, a password, a name and an address may be, and when
//! sign-ins are locked.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::client::NewAddress;
use crate::http::FieldError;
use crate::vocabulary::{Role, Timestamp, clock};

/// bcrypt looks at no more, so a longer password would be checked by its beginning only.
pub const PASSWORD_BYTES_MAX: usize = 72;
const PASSWORD_CHARACTERS_MIN: usize = 8;
const EMAIL_BYTES_MAX: usize = 254;
const NAME_CHARACTERS_MAX: usize = 100;
/// How many addresses a book may hold.
pub const ADDRESSES_MAX: i64 = 50;

/// So many wrong passwords in a row are free.
pub const FAILURES_FREE: i64 = 9;
const LOCK_FIRST: Duration = Duration::from_secs(30);
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// After so long without a wrong password the count starts over.
pub const FAILURES_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// An e-mail address that could be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    text: String,
    key: String,
}

impl Email {
    /// `text` without the space around it, when it has the shape of an e-mail address. Whether it exists only a mail
    /// can tell.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let is_bad =
            |letter: char| letter.is_whitespace() || letter.is_control() || "<>()[],;:\\\"@".contains(letter);
        let fits = text.len() <= EMAIL_BYTES_MAX
            && (1..=64).contains(&local.len())
            && !local.contains(is_bad)
            && !domain.contains(is_bad)
            && domain.split('.').count() >= 2
            && domain
                .split('.')
                .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        fits.then(|| Self { text: text.to_owned(), key: text.to_lowercase() })
    }

    /// As it was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same for every way to type it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What stands for an e-mail where the e-mail itself must not be kept. Takes any text, also one that is no e-mail.
#[must_use]
pub fn email_digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.trim().to_lowercase()).to_vec()
}

fn complaint(pointer: &str, message: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer.to_owned(), message: message.into() }
}

/// What is wrong with `password` as a new one.
#[must_use]
pub fn check_password(pointer: &str, password: &str) -> Option<FieldError> {
    if password.chars().count() < PASSWORD_CHARACTERS_MIN {
        return Some(complaint(
            pointer,
            format!("a password has at least {PASSWORD_CHARACTERS_MIN} characters"),
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Some(complaint(pointer, format!("a password has at most {PASSWORD_BYTES_MAX} bytes")));
    }
    password.contains('\0').then(|| complaint(pointer, "a password has no zero byte"))
}

/// `name` without the space around it, nothing when that is all; or what is wrong with it.
pub fn check_name(name: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
        let limit = format!("a name has at most {NAME_CHARACTERS_MAX} characters and no control characters");
        return Err(complaint("/name", limit));
    }
    Ok(Some(name.to_owned()))
}

/// `address` without the space around its fields, or everything that is wrong with it.
pub fn check_address(address: NewAddress) -> Result<NewAddress, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut field = |pointer: &str, text: String, most: usize| {
        let text = text.trim().to_owned();
        let fits = !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control);
        if !fits {
            errors.push(complaint(pointer, format!("`{}` has 1 to {most} characters", &pointer[1..])));
        }
        text
    };
    let address = NewAddress {
        name: field("/name", address.name, 100),
        line1: field("/line1", address.line1, 200),
        line2: address.line2.filter(|line| !line.trim().is_empty()).map(|line| field("/line2", line, 200)),
        city: field("/city", address.city, 100),
        postal_code: field("/postal_code", address.postal_code, 20),
        country: field("/country", address.country, 2),
    };
    let letters = address.country.len() == 2 && address.country.bytes().all(|byte| byte.is_ascii_uppercase());
    if !letters && !errors.iter().any(|error| error.pointer == "/country") {
        errors.push(complaint("/country", "`country` is two capital letters (ISO 3166 alpha-2)"));
    }
    if errors.is_empty() { Ok(address) } else { Err(errors) }
}

/// Until when sign-ins are refused after the `failures`-th wrong password in a row, if at all: the wait doubles with
/// each one, from half a minute to a quarter of an hour.
#[must_use]
pub fn locked_until(failures: i64, now: Timestamp) -> Option<Timestamp> {
    let over = failures.min(100) - FAILURES_FREE - 1;
    let doublings = u32::try_from(over).ok()?.min(16);
    Some(clock::add(now, (LOCK_FIRST * 2u32.pow(doublings)).min(LOCK_MAX)))
}

/// The roles of a user who is given `roles`: each once, weakest first, and everybody stays a customer.
#[must_use]
pub fn settle_roles(roles: &[Role]) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| *role == Role::Customer || roles.contains(role)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_email_is_known_however_it_is_typed() {
        let typed = Email::parse("  Ada.Lovelace@Example.COM ").expect("an e-mail");
        assert_eq!(typed.text(), "Ada.Lovelace@Example.COM");
        assert_eq!(typed.key(), "ada.lovelace@example.com");
        for wrong in
            ["", "@", "a@", "@b.c", "a b@c.d", "a@b", "a@b..c", "a@-b.c", "a@b@c.d", "a\n@b.c", "<a@b.c>"]
        {
            assert_eq!(Email::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(Email::parse(&format!("{}@b.c", "a".repeat(65))), None);
        assert_eq!(Email::parse(&format!("a@{}.c", "b".repeat(260))), None);
    }

    #[test]
    fn a_password_is_counted_in_bytes_where_bcrypt_does() {
        assert!(check_password("/password", "seven77").is_some());
        assert!(check_password("/password", "eight888").is_none());
        assert!(check_password("/password", &"x".repeat(72)).is_none());
        assert!(check_password("/password", &"x".repeat(73)).is_some());
        assert!(check_password("/password", &"é".repeat(37)).is_some());
        assert!(check_password("/password", "1234567\0").is_some());
    }

    #[test]
    fn the_lock_doubles_and_is_capped() {
        let wait = |failures| {
            locked_until(failures, Timestamp::UNIX_EPOCH)
                .map(|until| clock::since(Timestamp::UNIX_EPOCH, until).as_secs())
        };
        assert_eq!(wait(FAILURES_FREE), None);
        let waits: Vec<_> = (1..=7).map(|over| wait(FAILURES_FREE + over)).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900].map(Some));
        assert_eq!(wait(i64::MAX), Some(900));
    }

    #[test]
    fn an_address_is_trimmed_and_every_mistake_is_told_at_once() {
        let address = |city: &str, country: &str| NewAddress {
            name: " Ada ".into(),
            line1: "1 Road".into(),
            line2: Some("  ".into()),
            city: city.into(),
            postal_code: "10115".into(),
            country: country.into(),
        };
        let kept = check_address(address("Berlin", "DE")).expect("fine");
        assert_eq!((kept.name.as_str(), kept.line2), ("Ada", None));
        let errors = check_address(address("", "de")).expect_err("wrong");
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/city", "/country"]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_rules_themselves(text in ".{0,300}") {
            let _ = Email::parse(&text);
            let _ = check_password("/password", &text);
            let _ = check_name(Some(&text));
            let _ = email_digest(&text);
        }
    }
}
