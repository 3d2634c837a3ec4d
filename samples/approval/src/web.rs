//! The web page that lists the pending requests, and sends decisions to them.

use crate::workflows::{
    Approval, ApprovalWorkflow, Decision, EscalatingApprovalWorkflow, Level, LevelApproval,
    MultiLevelApprovalWorkflow, Verdict,
};
use axum::{
    Form, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use futures::TryStreamExt;
use serde::Deserialize;
use shared::describe;
use std::time::{SystemTime, UNIX_EPOCH};
use temporalio_client::{Client, WorkflowListOptions, errors::WorkflowInteractionError};

/// Maximum number of requests on the page.
const MAX_REQUESTS: usize = 100;

/// The client of the page, and the task queue whose requests it lists.
#[derive(Clone)]
pub struct Page {
    /// Client for the server.
    pub client: Client,
    /// Task queue of the approvals.
    pub task_queue: String,
}

/// Returns the routes of the page: `GET /` and `POST /decide`.
pub fn router(page: Page) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/decide", post(decide))
        .layer(middleware::from_fn(only_from_this_page))
        .with_state(page)
}

/// Refuses requests that another web site makes in the reader's browser. It would decide in their name: such a
/// request has another origin, or, if the site's name leads to this machine, another host.
async fn only_from_this_page(request: Request, next: Next) -> Response {
    match from_this_page(request.headers()) {
        true => next.run(request).await,
        false => StatusCode::FORBIDDEN.into_response(),
    }
}

fn from_this_page(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = value(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    // A browser sends the origin with every form.
    let ours = value(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"));
    ours && ["127.0.0.1", "localhost", "[::1]"].contains(&name)
}

async fn list(State(page): State<Page>) -> Response {
    match rows(&page).await {
        Ok(rows) => document(&match rows.is_empty() {
            true => "<p>No request is pending.</p>".to_owned(),
            false => rows.concat(),
        }),
        Err(error) => {
            let reason = format!("cannot list the requests: {error}");
            (StatusCode::BAD_GATEWAY, document(&paragraph(&reason))).into_response()
        }
    }
}

async fn rows(page: &Page) -> Result<Vec<String>, temporalio_client::errors::ClientError> {
    let queue = page.task_queue.replace('\\', "\\\\").replace('\'', "\\'");
    let query = format!(
        "ExecutionStatus = 'Running' AND TaskQueue = '{queue}' AND WorkflowType IN \
         ('ApprovalWorkflow', 'MultiLevelApprovalWorkflow', 'EscalatingApprovalWorkflow')"
    );
    let options = WorkflowListOptions::builder().limit(MAX_REQUESTS).build();
    let pending = page.client.list_workflows(query, options);
    pending
        .map_ok(|workflow| row(workflow.id(), workflow.workflow_type()))
        .try_collect()
        .await
}

fn row(workflow_id: &str, workflow_type: &str) -> String {
    let (id, of_type) = (escaped(workflow_id), escaped(workflow_type));
    let level = match workflow_type {
        "MultiLevelApprovalWorkflow" => {
            "<select name=level aria-label=Level><option>L1<option>L2<option>L3</select>"
        }
        _ => "",
    };
    let escalate = match workflow_type {
        "EscalatingApprovalWorkflow" => "<button name=decision value=ESCALATED>Escalate</button>",
        _ => "",
    };
    format!(
        "<form method=post action=/decide aria-label=\"{id}\"><b>{id}</b> {of_type}\
         <input type=hidden name=workflow_id value=\"{id}\">\
         <input type=hidden name=workflow_type value=\"{of_type}\">{level}\
         <input name=approver placeholder=Approver aria-label=Approver required>\
         <input name=comments placeholder=Comments aria-label=Comments>\
         <button name=decision value=APPROVED>Approve</button>\
         <button name=decision value=REJECTED>Reject</button>{escalate}</form>"
    )
}

/// What a form sends.
#[derive(Deserialize)]
struct Decided {
    workflow_id: String,
    workflow_type: String,
    approver: String,
    #[serde(default)]
    comments: String,
    decision: Decision,
    level: Option<Level>,
}

async fn decide(State(page): State<Page>, Form(decided): Form<Decided>) -> Response {
    let workflow_id = decided.workflow_id.clone();
    match send(&page.client, decided).await {
        Ok(true) => Redirect::to("/").into_response(),
        Ok(false) => StatusCode::BAD_REQUEST.into_response(),
        Err(WorkflowInteractionError::NotFound(_)) => {
            let reason = format!("Too late: {workflow_id} has ended.");
            (StatusCode::CONFLICT, document(&paragraph(&reason))).into_response()
        }
        Err(error) => {
            let reason = format!("cannot send the decision: {}", describe(&error));
            (StatusCode::BAD_GATEWAY, document(&paragraph(&reason))).into_response()
        }
    }
}

/// Sends the decision, or returns false if the form does not fit the type of workflow.
async fn send(client: &Client, decided: Decided) -> Result<bool, WorkflowInteractionError> {
    let Decided {
        workflow_id: id,
        workflow_type,
        approver,
        comments,
        decision,
        level,
    } = decided;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let approval = Approval {
        approver: approver.clone(),
        decision,
        comments: comments.clone(),
        timestamp: now.map_or(0, |now| now.as_secs().cast_signed()),
    };
    match (&*workflow_type, level, decision) {
        ("ApprovalWorkflow", ..) => {
            let signal = ApprovalWorkflow::submit_approval;
            let handle = client.get_workflow_handle::<ApprovalWorkflow>(id);
            handle
                .signal(signal, approval.into(), Default::default())
                .await?;
        }
        ("EscalatingApprovalWorkflow", ..) => {
            let signal = EscalatingApprovalWorkflow::submit_approval;
            let handle = client.get_workflow_handle::<EscalatingApprovalWorkflow>(id);
            handle
                .signal(signal, approval.into(), Default::default())
                .await?;
        }
        ("MultiLevelApprovalWorkflow", Some(level), Decision::Approved | Decision::Rejected) => {
            let approval = LevelApproval {
                level,
                approver,
                decision: match decision {
                    Decision::Approved => Verdict::Approved,
                    _ => Verdict::Rejected,
                },
                comments,
            };
            let signal = MultiLevelApprovalWorkflow::submit_approval;
            let handle = client.get_workflow_handle::<MultiLevelApprovalWorkflow>(id);
            handle
                .signal(signal, approval.into(), Default::default())
                .await?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn document(body: &str) -> Response {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Approvals</title>\
         <style>body{{font:16px sans-serif;margin:2em}}form *{{margin:.3em}}</style>\
         <h1>Pending approvals</h1>{body}<p><a href=/>Reload</a></html>"
    ))
    .into_response()
}

fn paragraph(text: &str) -> String {
    format!("<p role=alert>{}</p>", escaped(text))
}

/// Anyone who can start a workflow can choose its id, so the id must not become part of the page's code.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
