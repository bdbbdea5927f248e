//! The one endpoint: tells DynamoDB's calls from SQS's and passes each on.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use winterbaume_core::{MockRequest, MockResponse, MockService};
use winterbaume_sqs::SqsService;

use crate::stack::aws::limits::{self, Refused};
use crate::stack::serve;
use crate::stack::stop::Stop;

const TARGET: &str = "x-amz-target";
const SQS_TARGET: &str = "AmazonSQS.";
/// More than any call of either service may have.
const CALL_BYTES_MAX: usize = 16 << 20;

struct Front {
    dynamodb: Client<HttpConnector, Body>,
    dynamodb_at: SocketAddr,
    sqs: SqsService,
}

/// Serves both services at `listener`; DynamoDB itself answers at `dynamodb_at`.
pub(super) async fn serve(listener: TcpListener, dynamodb_at: SocketAddr, stop: Stop) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let dynamodb = Client::builder(TokioExecutor::new()).build(connector);
    let front = Front { dynamodb, dynamodb_at, sqs: SqsService::new() };
    let router = Router::new().fallback(call).with_state(Arc::new(front));
    serve::serve("the AWS stand-ins", listener, router, stop).await;
}

async fn call(State(front): State<Arc<Front>>, request: Request) -> Response {
    match operation(request.headers()).strip_prefix(SQS_TARGET).map(str::to_owned) {
        Some(operation) => front.sqs(&operation, request).await,
        None => front.dynamodb(request).await,
    }
}

fn operation(headers: &HeaderMap) -> &str {
    headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default()
}

impl Front {
    async fn dynamodb(&self, mut request: Request) -> Response {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("http://{}{path}", self.dynamodb_at).parse::<Uri>() else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        *request.uri_mut() = uri;
        match self.dynamodb.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::error!(%error, "the DynamoDB stand-in does not answer");
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }

    async fn sqs(&self, operation: &str, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, CALL_BYTES_MAX).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        if let Err(refused) = limits::check(operation, &body) {
            return refused.into_response();
        }
        let (method, uri) = (head.method.to_string(), head.uri.to_string());
        let answer = self.sqs.handle(MockRequest { method, uri, headers: head.headers, body }).await;
        from_stand_in(answer)
    }
}

fn from_stand_in(answer: MockResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers;
    response
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"__type": format!("com.amazonaws.sqs#{}", self.shape), "message": self.message});
        let headers = [
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amzn-query-error", format!("{};Sender", self.code)),
        ];
        (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
    }
}
