//! The objects of the Kubernetes API that are answered here, as they stand in JSON.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The API's group.
const GROUP: &str = "external.metrics.k8s.io";
/// Its version.
const VERSION: &str = "v1beta1";
/// Both.
const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";

/// An object with nothing in it.
#[derive(Serialize)]
struct Empty {}

/// A version of the group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: &'static str,
    version: &'static str,
}

/// `APIGroup`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiGroup {
    kind: &'static str,
    api_version: &'static str,
    name: &'static str,
    versions: [GroupVersion; 1],
    preferred_version: GroupVersion,
}

impl ApiGroup {
    pub(super) fn new() -> Self {
        let version = || GroupVersion { group_version: GROUP_VERSION, version: VERSION };
        Self {
            kind: "APIGroup",
            api_version: "v1",
            name: GROUP,
            versions: [version()],
            preferred_version: version(),
        }
    }
}

/// `APIGroupList`: the one group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiGroupList {
    kind: &'static str,
    api_version: &'static str,
    groups: [ApiGroup; 1],
}

impl ApiGroupList {
    pub(super) fn new() -> Self {
        Self { kind: "APIGroupList", api_version: "v1", groups: [ApiGroup::new()] }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: &'static str,
    singular_name: &'static str,
    namespaced: bool,
    kind: &'static str,
    verbs: [&'static str; 1],
}

/// `APIResourceList`: each metric is a resource.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiResourceList {
    kind: &'static str,
    api_version: &'static str,
    group_version: &'static str,
    resources: Vec<ApiResource>,
}

impl ApiResourceList {
    pub(super) fn of(metrics: Vec<&'static str>) -> Self {
        let resource = |name| ApiResource {
            name,
            singular_name: "",
            namespaced: true,
            kind: "ExternalMetricValueList",
            verbs: ["get"],
        };
        Self {
            kind: "APIResourceList",
            api_version: "v1",
            group_version: GROUP_VERSION,
            resources: metrics.into_iter().map(resource).collect(),
        }
    }
}

/// `ExternalMetricValue`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExternalMetricValue {
    pub(super) metric_name: String,
    pub(super) metric_labels: BTreeMap<&'static str, &'static str>,
    pub(super) timestamp: String,
    pub(super) value: String,
}

/// `ExternalMetricValueList`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExternalMetricValueList {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    items: Vec<ExternalMetricValue>,
}

impl ExternalMetricValueList {
    pub(super) fn of(items: impl IntoIterator<Item = ExternalMetricValue>) -> Self {
        Self {
            kind: "ExternalMetricValueList",
            api_version: GROUP_VERSION,
            metadata: Empty {},
            items: items.into_iter().collect(),
        }
    }
}

/// An OpenAPI document (version 2) with nothing in it.
#[derive(Serialize)]
pub(super) struct OpenApi {
    swagger: &'static str,
    info: OpenApiInfo,
    paths: Empty,
}

#[derive(Serialize)]
struct OpenApiInfo {
    title: &'static str,
    version: &'static str,
}

impl OpenApi {
    pub(super) fn new() -> Self {
        let info = OpenApiInfo { title: "The shop's external metrics", version: VERSION };
        Self { swagger: "2.0", info, paths: Empty {} }
    }
}

/// `metav1.Status` of a request that failed. It never comes with `Retry-After`: Kubernetes' clients would ask again and
/// again within one request, and an autoscaler comes back by itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: String,
    reason: &'static str,
    code: u16,
}

impl Status {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    fn failure(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: message.into(),
            reason,
            code: code.as_u16(),
        }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, Json(self)).into_response()
    }
}
