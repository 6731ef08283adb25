//! The database's address, which may hold a password: from the environment or a file, never from a flag.

use std::fmt;

use crate::failure::{Exit, Failure};

/// The variable that holds the address.
const VARIABLE: &str = "SHOPCTL_DATABASE_URL";
/// The variable that names a file with the address.
const FILE_VARIABLE: &str = "SHOPCTL_DATABASE_URL_FILE";

/// An address that may hold a password. Shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The address with its password, for the one who connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// The database's address: the flag when given, else the variable, else the file it names, else `in_file`.
///
/// # Errors
/// When an address with a password stands where others can read it, or the named file cannot be read.
pub fn database_url(
    flag: Option<&str>,
    in_file: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<DatabaseUrl>, Failure> {
    if let Some(url) = flag {
        refuse_password(url, "on the command line, where every process can read it", Exit::Usage)?;
        return Ok(Some(DatabaseUrl(url.to_owned())));
    }
    if let Some(url) = variable(VARIABLE).filter(|url| !url.is_empty()) {
        return Ok(Some(DatabaseUrl(url)));
    }
    if let Some(path) = variable(FILE_VARIABLE).filter(|path| !path.is_empty()) {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(
                Exit::Config,
                "E-SECRET-FILE",
                format!("could not read the database's address from {path}"),
            )
            .object(&path)
            .hint(format!("{FILE_VARIABLE} names a file that holds the address and nothing else"))
            .because(error)
        })?;
        return Ok(Some(DatabaseUrl(text.trim().to_owned())));
    }
    if let Some(url) = in_file {
        refuse_password(url, "in shop.toml, which is shared", Exit::Config)?;
    }
    Ok(in_file.map(|url| DatabaseUrl(url.to_owned())))
}

fn refuse_password(url: &str, place: &str, exit: Exit) -> Result<(), Failure> {
    if password_span(url).is_none() {
        return Ok(());
    }
    let message = format!("a database address with a password stands {place}");
    Err(Failure::new(exit, "E-SECRET-EXPOSED", message)
        .object(masked(url))
        .hint(format!("put it into {VARIABLE}, or into a file that {FILE_VARIABLE} names")))
}

/// The address with `***` for its password.
pub(super) fn masked(url: &str) -> String {
    match password_span(url) {
        Some((start, end)) => format!("{}***{}", &url[..start], &url[end..]),
        None => url.to_owned(),
    }
}

/// Where the password stands in `scheme://user:password@host/…`, or in `password=…` of either spelling.
fn password_span(url: &str) -> Option<(usize, usize)> {
    if let Some(start) = url.find("password=").map(|at| at + "password=".len()) {
        let end = url[start..].find(['&', ' ']).map_or(url.len(), |length| start + length);
        return Some((start, end));
    }
    let authority = url.find("://")? + 3;
    let end_of_authority = url[authority..].find(['/', '?']).map_or(url.len(), |length| authority + length);
    let at = url[authority..end_of_authority].rfind('@')? + authority;
    let colon = url[authority..at].find(':')? + authority;
    Some((colon + 1, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "postgres://shop:s3:cr@t@db:5432/shop?sslmode=require";

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        assert_eq!(masked(SECRET), "postgres://shop:***@db:5432/shop?sslmode=require");
        assert_eq!(masked("postgres://db/shop?password=x&y=1"), "postgres://db/shop?password=***&y=1");
        assert_eq!(masked("host=db password=x user=shop"), "host=db password=*** user=shop");
        assert_eq!(masked("postgres://shop@db/shop"), "postgres://shop@db/shop");
    }

    #[test]
    fn a_password_on_the_command_line_is_refused() {
        let failure = database_url(Some(SECRET), None, |_| None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(!format!("{failure:?}").contains("s3:cr"), "{failure:?}");
        assert!(database_url(Some("postgres://shop@db/shop"), None, |_| None).is_ok());
    }

    #[test]
    fn a_password_in_shop_toml_is_refused() {
        assert_eq!(database_url(None, Some(SECRET), |_| None).unwrap_err().exit(), Exit::Config);
    }

    #[test]
    fn the_variable_comes_before_the_file_it_may_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, format!("{SECRET}\n")).unwrap();
        let file = path.display().to_string();
        let both =
            |name: &str| (name == VARIABLE).then(|| "postgres://a/b".to_owned()).or(Some(file.clone()));
        assert_eq!(database_url(None, None, both).unwrap().unwrap().reveal(), "postgres://a/b");
        let only_file = |name: &str| (name == FILE_VARIABLE).then(|| file.clone());
        assert_eq!(database_url(None, None, only_file).unwrap().unwrap().reveal(), SECRET);
    }
}
