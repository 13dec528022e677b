//! The page and what it asks for, over HTTP.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::call::Calls;
use super::status::Status;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// An offer of a browser has some ten thousand octets.
const MAX_BODY: usize = 256 << 10;
/// Nothing comes from elsewhere, and nothing goes there.
const CONTENT_SECURITY: &str = "default-src 'self'";

#[derive(Deserialize)]
struct Offer {
    sdp: String,
}

#[derive(Serialize)]
struct Answer {
    session: String,
    sdp: String,
}

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, calls: Arc<Calls>) {
    let router = Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/page.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/offer", post(offer))
        .route("/status/{session}", get(status))
        .route("/hangup/{session}", post(hang_up))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(calls);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the page is not served any more: {error}");
    }
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY)];
    (headers, text)
}

/// JSON, which other sites' pages cannot send here without asking first.
async fn offer(State(calls): State<Arc<Calls>>, Json(offer): Json<Offer>) -> Result<Json<Answer>, Refusal> {
    let (session, sdp) = calls.begin(offer.sdp).await?;
    Ok(Json(Answer { session, sdp }))
}

async fn status(
    State(calls): State<Arc<Calls>>,
    Path(session): Path<String>,
) -> Result<Json<Status>, Refusal> {
    Ok(Json(calls.status(&session).await?))
}

async fn hang_up(
    State(calls): State<Arc<Calls>>,
    headers: HeaderMap,
    Path(session): Path<String>,
) -> Result<Json<bool>, Refusal> {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Ok(Json(false));
    }
    Ok(Json(calls.end(&session).await?))
}

/// Why something was not done, in words for the page.
struct Refusal(anyhow::Error);

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, format!("{:#}", self.0)).into_response()
    }
}
