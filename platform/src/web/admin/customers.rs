//! Customers: find an account, see its orders, give roles.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::STAFF;
use crate::http::address::query;
use crate::http::{Path, Problem, Query};
use crate::services::order::client::OrderFilter;
use crate::services::user::client::{Account, AccountQuery, SetRoles};
use crate::vocabulary::{Role, UserId};
use crate::web::failure::full_sentence;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::OrderView;
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "admin/customers.html")]
struct Customers {
    page: Page,
    q: String,
    role: String,
    roles: Vec<String>,
    accounts: Vec<Account>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/customer.html")]
struct Customer {
    page: Page,
    account: Account,
    orders: Vec<OrderView>,
    roles: Vec<(&'static str, &'static str, bool)>,
    may_set_roles: bool,
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    role: String,
    cursor: Option<String>,
}

/// `GET /admin/customers`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let q = asked.q.trim().to_owned();
    let role = asked.role.parse::<Role>().ok();
    let filter = AccountQuery {
        q: Some(q.clone()).filter(|q| !q.is_empty()),
        role,
        limit: Some(50),
        cursor: asked.cursor,
    };
    let list = visit.web.users.accounts(&visit.context, &filter).await?;
    let role = role.map_or(String::new(), |role| role.to_string());
    let next = list.next_cursor.map(|cursor| {
        format!("/admin/customers{}", query(&[("q", &q), ("role", &role), ("cursor", &cursor)]))
    });
    let roles = Role::ALL.iter().map(ToString::to_string).collect();
    let page = visit.page("Customers");
    Ok(visit.show(&Customers { page, q, role, roles, accounts: list.items, next }))
}

/// `GET /admin/customers/{id}`
pub(super) async fn customer(visit: Visit, Path(id): Path<UserId>) -> Result<Response, Problem> {
    let may_set_roles = visit.staff(STAFF)?.roles.contains(&Role::Admin);
    let account = visit.web.users.account(&visit.context, id).await?;
    let filter = OrderFilter { q: Some(account.email.clone()), limit: Some(20), ..OrderFilter::default() };
    let orders = visit.web.orders.admin_orders(&visit.context, &filter).await?;
    // The search finds e-mails that only begin with this one, too.
    let orders = orders.items.into_iter().filter(|order| order.email == account.email).map(OrderView);
    Ok(visit.show(&Customer {
        page: visit.page(&account.email),
        orders: orders.collect(),
        roles: roles(&account.roles),
        may_set_roles,
        account,
    }))
}

/// The roles that can be given, and whether each is held. Everybody is a customer.
fn roles(held: &[Role]) -> Vec<(&'static str, &'static str, bool)> {
    let about = |role| match role {
        Role::Customer => "buys",
        Role::Support => "helps customers",
        Role::Merchandiser => "keeps catalogue and stock",
        Role::Ops => "runs the shop",
        Role::Admin => "may do everything",
    };
    let given = Role::ALL.into_iter().filter(|role| *role != Role::Customer);
    given.map(|role| (role.as_str(), about(role), held.contains(&role))).collect()
}

/// `POST /admin/customers/{id}/roles`
pub(super) async fn set_roles(
    visit: Visit,
    Path(id): Path<UserId>,
    Form(fields): Form,
) -> Result<Response, Problem> {
    visit.staff(&[Role::Admin])?;
    let ticked = |role: &Role| *role == Role::Customer || fields.is_ticked(&format!("role_{role}"));
    let roles = Role::ALL.into_iter().filter(ticked).collect();
    let body = SetRoles { roles, reason: fields.optional("reason") };
    match visit.web.users.set_roles(&visit.context, id, &body).await.map_err(Problem::from) {
        Ok(_) => visit.say(Tone::Good, "The roles are set. They hold from the next sign-in or renewal on."),
        Err(problem) if (400..500).contains(&problem.status) => {
            visit.say(Tone::Bad, &full_sentence(&problem.detail));
        }
        Err(problem) => return Err(problem),
    }
    Ok(redirect(&format!("/admin/customers/{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Id, Timestamp};

    #[test]
    fn a_customers_page_ticks_the_roles_that_are_held() {
        let account = Account {
            id: Id::from_uuid(uuid::Uuid::from_u128(3)),
            email: "ada@example.com".into(),
            name: None,
            roles: vec![Role::Customer, Role::Support],
            status: "active".into(),
            created_at: Timestamp::UNIX_EPOCH,
            locked_until: None,
        };
        let page = crate::web::page::tests::page("/admin/customers/3");
        let roles = roles(&account.roles);
        let html = Customer { page, account, orders: vec![], roles, may_set_roles: true }.render().unwrap();
        assert!(html.contains("name=\"role_support\" value=\"yes\" checked"));
        assert!(html.contains("name=\"role_ops\" value=\"yes\">"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
