//! From a question to one statement: words, filters, order, and where the page before ended.
//!
//! A word finds what begins with it. How well a product answers is a whole number that depends on that product alone
//! (which of the words its title, keywords and description have, whole or begun), so it is the same on both engines
//! and stays the same while others are added: a cursor into it stays true. bm25, which weighs a word by how rare it
//! is among all, does not.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::wire::{ProductQuery, ProductStatus};
use crate::http::{PageQuery, Problem};
use crate::storage::{Dialect, Value};

/// More words than this are not looked at.
const WORDS_MAX: usize = 8;
const QUERY_CHARS_MAX: usize = 200;
const WORD_CHARS_MAX: usize = 40;

/// A searched column: its name in SQLite's index, its weight class in PostgreSQL's, what a word that begins there is
/// worth; a whole word is worth as much again.
const FIELDS: [(&str, &str, i64); 3] = [("title", "A", 8), ("keywords", "B", 4), ("description", "C", 1)];

/// Letters with an accent and what both engines take them for. Migration 1 has the same for PostgreSQL.
const ACCENTED: &str = "àáâãäåāăąçćĉċčďèéêëēĕėęěĝğġģĥìíîïĩīĭįĵķĺļľñńņňòóôõöōŏőŕŗřśŝşšţťùúûüũūŭůűųŵýÿŷźżž";
const PLAIN: &str = "aaaaaaaaacccccdeeeeeeeeegggghiiiiiiiijklllnnnnoooooooorrrssssttuuuuuuuuuuwyyyzzz";

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Relevance,
    PriceUp,
    PriceDown,
    Newest,
}

impl Sort {
    fn parse(text: Option<&str>, has_words: bool) -> Result<Self, Problem> {
        match text {
            // Without words nothing is more relevant than anything else: the newest first.
            Some("relevance") | None | Some("") if has_words => Ok(Self::Relevance),
            Some("relevance" | "newest" | "") | None => Ok(Self::Newest),
            Some("price") => Ok(Self::PriceUp),
            Some("-price") => Ok(Self::PriceDown),
            Some(_) => Err(Problem::invalid("/sort", "choose one of relevance, price, -price, newest")),
        }
    }

    /// The column that comes before the number, if any, and whether it goes down.
    const fn key(self) -> (Option<&'static str>, bool) {
        match self {
            Self::Relevance => (Some("score"), true),
            Self::PriceUp => (Some("p.price_minor"), false),
            Self::PriceDown => (Some("p.price_minor"), true),
            Self::Newest => (None, true),
        }
    }
}

/// Where a row stands in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) key: i64,
    pub(super) number: i64,
}

/// A question that was understood.
#[derive(Clone, Debug)]
pub(super) struct Search {
    words: Vec<String>,
    /// There was a `q`, but no word in it: nothing is found.
    pub(super) is_hopeless: bool,
    category: Option<String>,
    min_price: Option<i64>,
    max_price: Option<i64>,
    pub(super) in_stock: Option<bool>,
    sort: Sort,
    pub(super) limit: usize,
    after: Option<Position>,
    /// `None` shows all, as only staff may see.
    status: Option<ProductStatus>,
    fingerprint: String,
}

impl Search {
    /// What anybody may ask.
    pub(super) fn public(query: &ProductQuery) -> Result<Self, Problem> {
        match query.status {
            None => Self::new(query, Some(ProductStatus::Active)),
            Some(_) => Err(Problem::invalid("/status", "the status is for staff")),
        }
    }

    /// What staff may ask.
    pub(super) fn staff(query: &ProductQuery) -> Result<Self, Problem> {
        let status = match query.status.as_deref() {
            None | Some("") => None,
            Some("active") => Some(ProductStatus::Active),
            Some("draft") => Some(ProductStatus::Draft),
            Some("archived") => Some(ProductStatus::Archived),
            Some(_) => return Err(Problem::invalid("/status", "choose one of active, draft, archived")),
        };
        Self::new(query, status)
    }

    fn new(query: &ProductQuery, status: Option<ProductStatus>) -> Result<Self, Problem> {
        let q = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
        if q.is_some_and(|q| q.chars().count() > QUERY_CHARS_MAX) {
            return Err(Problem::invalid("/q", format!("search for at most {QUERY_CHARS_MAX} characters")));
        }
        for (pointer, price) in [("/min_price", query.min_price), ("/max_price", query.max_price)] {
            if price.is_some_and(|price| price < 0) {
                return Err(Problem::invalid(pointer, "a price is not negative"));
            }
        }
        let words = q.map(words).unwrap_or_default();
        let sort = Sort::parse(query.sort.as_deref(), !words.is_empty())?;
        let category = query.category.clone().filter(|category| !category.is_empty());
        let fingerprint = fingerprint(&format!(
            "{words:?}{category:?}{:?}{:?}{:?}{sort:?}{status:?}",
            query.min_price, query.max_price, query.in_stock
        ));
        let cursor = query.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let after = cursor.map(|cursor| read_cursor(cursor, &fingerprint)).transpose()?;
        Ok(Self {
            is_hopeless: q.is_some() && words.is_empty(),
            words,
            category,
            min_price: query.min_price,
            max_price: query.max_price,
            in_stock: query.in_stock,
            sort,
            limit: PageQuery { limit: query.limit, cursor: None }.limit()?,
            after,
            status,
            fingerprint,
        })
    }

    /// Where the next page begins when `last` is the last row of this one.
    pub(super) fn cursor(&self, last: Position) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", self.fingerprint, last.key, last.number))
    }

    /// The statement for one row more than the limit. Its rows have `columns` (of `p`), `number` and `key`.
    pub(super) fn statement(&self, columns: &str, dialect: Dialect) -> (String, Vec<Value>) {
        let mut params = Params::default();
        let from = match (self.words.is_empty(), dialect) {
            (true, _) => "product_products p".to_owned(),
            (false, Dialect::Sqlite) => hits_sqlite(&self.words, &mut params),
            (false, Dialect::Postgres) => hits_postgres(&self.words, &mut params),
        };
        let (key, down) = self.sort.key();
        let mut sql = format!(
            "SELECT {columns}, p.number AS number, {} AS key FROM {from} WHERE ",
            key.unwrap_or("p.number")
        );
        match self.status {
            // Written out, so that the partial indexes serve.
            Some(ProductStatus::Active) => sql.push_str("p.status = 'active'"),
            Some(other) => _ = write!(sql, "p.status = {}", params.bind(other.as_str())),
            None => sql.push_str("1 = 1"),
        }
        if let Some(category) = &self.category {
            _ = write!(sql, " AND p.category = {}", params.bind(category.as_str()));
        }
        if let Some(least) = self.min_price {
            _ = write!(sql, " AND p.price_minor >= {}", params.bind(least));
        }
        if let Some(most) = self.max_price {
            _ = write!(sql, " AND p.price_minor <= {}", params.bind(most));
        }
        if let Some(wanted) = self.in_stock {
            let not = if wanted { "" } else { "NOT " };
            _ = write!(
                sql,
                " AND {not}EXISTS (SELECT 1 FROM product_variants v JOIN product_stock s ON s.sku = v.sku
                    WHERE v.product_id = p.id AND v.active AND s.on_hand > s.reserved)"
            );
        }
        if let Some(after) = self.after {
            let beyond = if down { "<" } else { ">" };
            _ = match key {
                Some(key) => {
                    let (key_at, number) = (params.bind(after.key), params.bind(after.number));
                    write!(sql, " AND ({key}, p.number) {beyond} ({key_at}, {number})")
                }
                None => write!(sql, " AND p.number {beyond} {}", params.bind(after.number)),
            };
        }
        let direction = if down { " DESC" } else { "" };
        match key {
            Some(key) => _ = write!(sql, " ORDER BY {key}{direction}, p.number{direction}"),
            None => _ = write!(sql, " ORDER BY p.number{direction}"),
        }
        let limit = i64::try_from(self.limit + 1).unwrap_or(101);
        _ = write!(sql, " LIMIT {}", params.bind(limit));
        (sql, params.values)
    }
}

#[derive(Default)]
struct Params {
    values: Vec<Value>,
}

impl Params {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }
}

/// One look into the index per word, field and whole-or-begun; a product is found when it has every word.
fn hits_sqlite(words: &[String], params: &mut Params) -> String {
    let mut looks = Vec::with_capacity(words.len() * FIELDS.len() * 2);
    for (number, word) in words.iter().enumerate() {
        for (column, _, points) in FIELDS {
            for star in ["", " *"] {
                let pattern = params.bind(format!("{column} : \"{word}\"{star}"));
                looks.push(format!(
                    "SELECT rowid AS number, {number} AS word, {points} AS points
                     FROM product_search WHERE product_search MATCH {pattern}"
                ));
            }
        }
    }
    format!(
        "(SELECT number, SUM(points) AS score FROM ({}) AS looks
          GROUP BY number HAVING COUNT(DISTINCT word) = {}) AS hits
         JOIN product_products p ON p.number = hits.number",
        looks.join(" UNION ALL "),
        words.len()
    )
}

fn hits_postgres(words: &[String], params: &mut Params) -> String {
    let every = words.iter().map(|word| format!("{word}:*")).collect::<Vec<_>>().join(" & ");
    let every = params.bind(every);
    let mut points_of = Vec::with_capacity(words.len() * FIELDS.len() * 2);
    for word in words {
        for (_, class, points) in FIELDS {
            for star in ["", "*"] {
                let pattern = params.bind(format!("{word}:{star}{class}"));
                points_of.push(format!(
                    "CASE WHEN q.search @@ to_tsquery('simple', {pattern}) THEN {points} ELSE 0 END"
                ));
            }
        }
    }
    format!(
        "(SELECT q.*, CAST({} AS BIGINT) AS score FROM product_products q
          WHERE q.search @@ to_tsquery('simple', {every})) AS p",
        points_of.join(" + ")
    )
}

/// The words of a query, as both engines' tokenizers would cut and fold them: only letters and digits are left, so
/// nothing in them can be taken for syntax.
fn words(q: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in q.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let folded: String = word.to_lowercase().chars().map(fold).take(WORD_CHARS_MAX).collect();
        // Lower-casing can bring forth marks that belong to no word ("İ").
        let folded: String = folded.chars().filter(|letter| letter.is_alphanumeric()).collect();
        if !folded.is_empty() && !words.contains(&folded) {
            words.push(folded);
        }
    }
    words.truncate(WORDS_MAX);
    words
}

fn fold(letter: char) -> char {
    if letter.is_ascii() {
        return letter;
    }
    let place = ACCENTED.chars().position(|accented| accented == letter);
    place.and_then(|place| PLAIN.chars().nth(place)).unwrap_or(letter)
}

fn fingerprint(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..6])
}

fn read_cursor(cursor: &str, fingerprint: &str) -> Result<Position, Problem> {
    let foreign =
        || Problem::invalid("/cursor", "this cursor belongs to another question: start from the first page");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| foreign())?;
    let text = String::from_utf8(bytes).map_err(|_| foreign())?;
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(asked), Some(key), Some(number), None) if asked == fingerprint => {
            let (key, number) = (key.parse().map_err(|_| foreign())?, number.parse().map_err(|_| foreign())?);
            Ok(Position { key, number })
        }
        _ => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(q: &str) -> Search {
        Search::public(&ProductQuery { q: Some(q.to_owned()), ..ProductQuery::default() }).unwrap()
    }

    #[test]
    fn words_are_cut_and_folded_and_never_syntax() {
        assert_eq!(words("  Crème-brûlée, 500ml! "), ["creme", "brulee", "500ml"]);
        assert_eq!(words("tea Tea TEA"), ["tea"]);
        assert_eq!(words("\" OR title : x* NEAR('"), ["or", "title", "x", "near"]);
        assert_eq!(words("a b c d e f g h i j").len(), WORDS_MAX);
        assert!(search("?!").is_hopeless);
        assert!(!search("  ").is_hopeless);
    }

    #[test]
    fn accents_fold_one_to_one_and_as_the_migration_does() {
        assert_eq!(ACCENTED.chars().count(), PLAIN.chars().count());
        let migration = include_str!("../../../migrations/product/0001_search_postgres.sql");
        assert!(migration.contains(&format!("'{ACCENTED}")));
        assert!(migration.contains(&format!("'{PLAIN}")));
    }

    #[test]
    fn a_cursor_is_only_good_for_its_own_question() {
        let query = ProductQuery { category: Some("tea".to_owned()), ..ProductQuery::default() };
        let cursor = Search::public(&query).unwrap().cursor(Position { key: -3, number: 12 });
        let next = ProductQuery { cursor: Some(cursor.clone()), limit: Some(3), ..query };
        assert_eq!(Search::public(&next).unwrap().after, Some(Position { key: -3, number: 12 }));
        for cursor in [cursor, "nonsense".to_owned(), URL_SAFE_NO_PAD.encode("a.b.c")] {
            let other = ProductQuery { cursor: Some(cursor), ..ProductQuery::default() };
            assert_eq!(Search::public(&other).unwrap_err().errors[0].pointer, "/cursor");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let refused = |query: ProductQuery| Search::public(&query).unwrap_err().errors[0].pointer.clone();
        let base = ProductQuery::default;
        assert_eq!(refused(ProductQuery { sort: Some("title".to_owned()), ..base() }), "/sort");
        assert_eq!(refused(ProductQuery { min_price: Some(-1), ..base() }), "/min_price");
        assert_eq!(refused(ProductQuery { limit: Some(101), ..base() }), "/limit");
        assert_eq!(refused(ProductQuery { status: Some("draft".to_owned()), ..base() }), "/status");
        assert_eq!(refused(ProductQuery { q: Some("x".repeat(201)), ..base() }), "/q");
    }
}
