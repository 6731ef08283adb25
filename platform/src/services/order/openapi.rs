//! The service's API as OpenAPI.

pub(super) fn document() -> utoipa::openapi::OpenApi {
    utoipa::openapi::OpenApi::default()
}
