//! The first page of the desk: how business goes.

use askama::Template;
use axum::response::Response;

use super::STAFF;
use crate::http::{PageQuery, Problem};
use crate::services::order::client::Dashboard;
use crate::services::product::client::StockItem;
use crate::vocabulary::Money;
use crate::web::chart::Chart;
use crate::web::page::Page;
use crate::web::view::Badge;
use crate::web::visit::Visit;

/// Below this many units a SKU runs low.
const LOW_STOCK: i64 = 10;

#[derive(Template)]
#[template(path = "admin/dashboard.html")]
struct DashboardPage {
    page: Page,
    orders_24h: i64,
    revenue: Money,
    refunded: Money,
    rate: String,
    in_flight: i64,
    stuck: i64,
    chart: Chart,
    by_status: Vec<(Badge, &'static str, i64)>,
    low_stock: Vec<StockItem>,
    low_stock_known: bool,
}

/// `GET /admin`
pub(super) async fn dashboard(visit: Visit) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let figures = visit.web.orders.dashboard(&visit.context).await?;
    let page = PageQuery { limit: Some(10), cursor: None };
    // Not everybody at the desk may see the stock; the rest of the page is theirs all the same.
    let low_stock = visit.web.products.stock_list(&visit.context, Some(LOW_STOCK), &page).await;
    let low_stock_known = low_stock.is_ok();
    let low_stock = low_stock.map(|list| list.items).unwrap_or_default();
    Ok(visit.show(&draw(visit.page("Dashboard"), figures, low_stock, low_stock_known)))
}

fn draw(page: Page, figures: Dashboard, low_stock: Vec<StockItem>, low_stock_known: bool) -> DashboardPage {
    let orders: Vec<i64> = figures.minutes.iter().map(|minute| minute.orders).collect();
    let last_five: i64 = orders.iter().rev().take(5).sum();
    let by_status = figures.orders_by_status.iter().filter(|count| count.orders > 0);
    DashboardPage {
        page,
        orders_24h: figures.orders_24h,
        revenue: figures.revenue_24h,
        refunded: figures.refunded_24h,
        rate: format!("{}.{}", last_five / 5, last_five % 5 * 2),
        in_flight: figures.sagas_in_flight,
        stuck: figures.sagas_stuck,
        chart: Chart::bars("Orders per minute", &orders),
        by_status: by_status
            .map(|count| (Badge::of_status(count.status), count.status.as_str(), count.orders))
            .collect(),
        low_stock,
        low_stock_known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::order::client::{Minute, Status, StatusCount};
    use crate::vocabulary::{Currency, Timestamp};

    #[test]
    fn the_dashboard_counts_the_last_five_minutes_and_warns_of_what_is_stuck() {
        let minute = |orders| Minute { at: Timestamp::UNIX_EPOCH, orders, revenue: 0 };
        let figures = Dashboard {
            currency: Currency::USD,
            minutes: [9, 1, 2, 3, 4, 3].map(minute).to_vec(),
            orders_by_status: vec![StatusCount { status: Status::Confirmed, orders: 22 }],
            orders_24h: 22,
            revenue_24h: Money::new(1_234_500, Currency::USD),
            refunded_24h: Money::zero(Currency::USD),
            sagas_in_flight: 2,
            sagas_stuck: 1,
        };
        let drawn = draw(crate::web::page::tests::page("/admin"), figures, vec![], true);
        assert_eq!(drawn.rate, "2.6");
        let html = drawn.render().unwrap();
        assert!(html.contains("1 need a person") && html.contains("$12,345.00"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
