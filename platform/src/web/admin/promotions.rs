//! Promotions: what is offered, how often it was used, a new one, the end of one.

use askama::Template;
use axum::response::Response;

use super::STAFF;
use crate::http::{Path, Problem};
use crate::services::order::client::{Benefit, Promotion, SavePromotion};
use crate::vocabulary::{Currency, Money, Role};
use crate::web::failure::full_sentence;
use crate::web::fields::{Fields, minor_units};
use crate::web::page::{Page, Tone, redirect};
use crate::web::storefront::explain;
use crate::web::visit::{Form, Visit};

const KINDS: [(&str, &str); 3] =
    [("percent", "Percent off"), ("fixed", "An amount off"), ("free_shipping", "Free shipping")];

#[derive(Template)]
#[template(path = "admin/promotions.html")]
struct Promotions {
    page: Page,
    promotions: Vec<Row>,
    fields: Fields,
    kinds: &'static [(&'static str, &'static str)],
    may_change: bool,
}

struct Row {
    code: String,
    title: String,
    does: String,
    least: String,
    uses: String,
    active: bool,
}

impl Row {
    fn new(promotion: Promotion, currency: Currency) -> Self {
        let uses_max = promotion.uses_max.map_or(String::new(), |max| format!(" of {max}"));
        let least = Money::new(promotion.min_subtotal, currency);
        Self {
            does: does(&promotion.benefit, currency),
            least: if least.is_zero() { "any subtotal".to_owned() } else { least.to_string() },
            uses: format!("{}{uses_max}", promotion.uses),
            code: promotion.code,
            title: promotion.title,
            active: promotion.active,
        }
    }
}

fn does(benefit: &Benefit, currency: Currency) -> String {
    match benefit {
        Benefit::Percent { basis_points } if basis_points % 100 == 0 => {
            format!("{} % off", basis_points / 100)
        }
        Benefit::Percent { basis_points } => {
            format!("{}.{:02} % off", basis_points / 100, basis_points % 100)
        }
        Benefit::Fixed { amount } => format!("{} off", Money::new(*amount, currency)),
        Benefit::FreeShipping {} => "free shipping".to_owned(),
        Benefit::BuyXGetY { sku, buy, free } => format!("buy {buy} of {sku}, get {free} free"),
    }
}

/// `GET /admin/promotions`
pub(super) async fn list(visit: Visit) -> Result<Response, Problem> {
    let page = draw(&visit, Fields::default()).await?;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, fields: Fields) -> Result<Promotions, Problem> {
    let identity = visit.staff(STAFF)?;
    let may_change = identity.is(Role::Merchandiser);
    let list = visit.web.orders.promotions(&visit.context).await?;
    let currency = visit.web.capabilities.config.order.currency;
    let promotions = list.items.into_iter().map(|promotion| Row::new(promotion, currency)).collect();
    Ok(Promotions { page: visit.page("Promotions"), promotions, fields, kinds: &KINDS, may_change })
}

/// `POST /admin/promotions`
pub(super) async fn create(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    if let Some(promotion) = promotion(&mut fields) {
        match visit.web.orders.create_promotion(&visit.context, &promotion).await {
            Ok(promotion) => {
                visit.say(Tone::Good, &format!("{} works from now on.", promotion.code));
                return Ok(redirect("/admin/promotions"));
            }
            Err(error) => explain(&mut fields, error.into())?,
        }
    }
    let page = draw(&visit, fields).await?;
    Ok(visit.show_again(&page))
}

/// The promotion of a form; none when something is wrong, which is then said in `fields`.
fn promotion(fields: &mut Fields) -> Option<SavePromotion> {
    fields.require("code", "Enter a code.");
    fields.require("title", "Enter what it is.");
    let benefit = benefit(fields);
    let min_subtotal = match fields.optional("min_subtotal") {
        Some(_) => fields.minor("min_subtotal").unwrap_or(0),
        None => 0,
    };
    let uses_max = fields.optional("uses_max").and_then(|_| fields.whole("uses_max", 1));
    let per_customer =
        fields.optional("uses_per_customer_max").and_then(|_| fields.whole("uses_per_customer_max", 1));
    let benefit = benefit.filter(|_| fields.is_good())?;
    Some(SavePromotion {
        code: fields.value("code").to_owned(),
        title: fields.value("title").to_owned(),
        benefit,
        min_subtotal,
        uses_max,
        uses_per_customer_max: per_customer,
        starts_at: None,
        ends_at: None,
        active: true,
    })
}

fn benefit(fields: &mut Fields) -> Option<Benefit> {
    let worth = minor_units(fields.value("worth").trim_end_matches('%').trim_end());
    match (fields.value("kind"), worth) {
        ("free_shipping", _) => Some(Benefit::FreeShipping {}),
        // `12.5` percent are 1,250 hundredths, written like an amount of money.
        ("percent", Some(basis_points @ 1..=10_000)) => Some(Benefit::Percent { basis_points }),
        ("percent", _) => {
            fields.reject("worth", "Enter a percentage from 0.01 to 100.");
            None
        }
        (_, Some(amount @ 1..)) => Some(Benefit::Fixed { amount }),
        _ => {
            fields.reject("worth", "Enter an amount such as 5.00.");
            None
        }
    }
}

/// `POST /admin/promotions/{code}/end`
pub(super) async fn end(visit: Visit, Path(code): Path<String>, Form(_): Form) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    match visit.web.orders.end_promotion(&visit.context, &code).await.map_err(Problem::from) {
        Ok(promotion) => visit.say(Tone::Good, &format!("{} is no longer offered.", promotion.code)),
        Err(problem) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(problem) => return Err(problem),
    }
    Ok(redirect("/admin/promotions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_kept_in_hundredths_and_nonsense_is_explained() {
        let mut fields = Fields::parse(b"code=SPRING&title=Spring&kind=percent&worth=12.5&min_subtotal=50");
        let saved = promotion(&mut fields).expect("a promotion");
        assert_eq!(
            (saved.benefit.clone(), saved.min_subtotal),
            (Benefit::Percent { basis_points: 1250 }, 5000)
        );
        assert_eq!(does(&saved.benefit, Currency::USD), "12.50 % off");
        for wrong in ["0", "101", "lots", ""] {
            let mut fields = Fields::default()
                .with("code", "X12")
                .with("title", "X")
                .with("kind", "percent")
                .with("worth", wrong);
            assert!(promotion(&mut fields).is_none(), "{wrong}");
            assert!(fields.error("worth").is_some());
        }
    }

    #[test]
    fn the_page_offers_a_form_to_those_who_may() {
        let draw = |may_change| {
            let page = crate::web::page::tests::page("/admin/promotions");
            Promotions { page, promotions: vec![], fields: Fields::default(), kinds: &KINDS, may_change }
                .render()
                .unwrap()
        };
        assert!(draw(true).contains("Offer it") && !draw(false).contains("Offer it"));
        crate::web::page::tests::assert_is_well_made(&draw(true));
    }
}
