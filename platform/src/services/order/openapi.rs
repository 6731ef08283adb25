//! The service's API as OpenAPI, generated from the handlers.

use utoipa::OpenApi;

use super::{admin, api, stream};

#[derive(OpenApi)]
#[openapi(
    info(title = "order", description = "Carts, checkout, orders, promotions and sagas."),
    paths(
        api::create_cart,
        api::cart,
        api::set_line,
        api::apply_promotion,
        api::remove_promotion,
        api::merge,
        api::quote,
        api::place,
        api::mine,
        api::order,
        api::events,
        api::cancel,
        stream::stream,
        admin::list,
        admin::figures,
        admin::one,
        admin::pack,
        admin::ship,
        admin::deliver,
        admin::cancel,
        admin::refund,
        admin::rebuild,
        admin::sagas,
        admin::order_sagas,
        admin::retry,
        admin::compensate,
        admin::promotions,
        admin::promotion,
        admin::create_promotion,
        admin::update_promotion,
        admin::end_promotion,
    )
)]
struct Api;

pub(super) fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
