//! Lists on the wire: `{"items": […], "next_cursor": "…"|null}`.

use serde::{Deserialize, Serialize};

use super::Problem;

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The page's items.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that fits on one page.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }

    /// A page made of one row more than asked for: the extra row tells that there is a next page, and `cursor`
    /// makes its beginning from the last row that is shown.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}

/// `?limit&cursor`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PageQuery {
    /// 1 to 100, default 20.
    pub limit: Option<i64>,
    /// What the page before answered as `next_cursor`.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The limit, checked.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(20) {
            limit @ 1..=100 => Ok(usize::try_from(limit).unwrap_or(20)),
            _ => Err(Problem::invalid("/limit", "limit must be from 1 to 100")),
        }
    }
}
