//! Expenses: created by the worker, decided by a person, paid by the worker.

use super::{
    AGAIN, Answer, ID_ALREADY_EXISTS, INVALID_ID, INVALID_STATE, INVALID_TYPE, Refused, Service,
    UNAVAILABLE, answer, form, not_completed, unavailable,
};
use axum::extract::{Query, State};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{fmt::Write, sync::Arc};
use tokio::time::sleep;

const SUCCEED: &str = "SUCCEED";

/// What has happened to an expense.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Created,
    Approved,
    Rejected,
    Completed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Completed => "COMPLETED",
        }
    }
}

/// An expense, and the activity that waits for the decision about it.
#[derive(Clone, Deserialize, Serialize)]
pub struct Expense {
    id: String,
    status: Status,
    /// Idempotency keys of the requests that have created and paid it.
    created_by: String,
    paid_by: Option<String>,
    /// Token of the last attempt that has asked.
    task_token: Option<String>,
    /// Whether that attempt was completed.
    told: bool,
}

/// Where to decide about an expense: the heartbeat details of the activity that waits.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DecisionLinks {
    /// URL that approves.
    pub approve: String,
    /// URL that rejects.
    pub reject: String,
}

impl DecisionLinks {
    fn new(service: &Service, id: &str) -> Self {
        let link = |action: &str| {
            let mut url: Url = service.url.clone();
            url.set_path("/action");
            url.query_pairs_mut()
                .append_pair("type", action)
                .append_pair("id", id)
                // For this decision about this expense only.
                .append_pair("signature", &service.key.sign(&[action, id]));
            url.into()
        };
        Self {
            approve: link("approve"),
            reject: link("reject"),
        }
    }
}

/// `GET /create?id=…`
pub async fn create(
    State(service): State<Arc<Service>>,
    Query(request): Query<super::Request>,
) -> Answer {
    let created = async {
        let super::Request {
            id, key, signature, ..
        } = request;
        service.verify(&["create", &id, &key], &signature)?;
        let new_id = id.clone();
        let change = service.expenses.change(&id, move |expense| {
            let known = expense.get_or_insert_with(|| Expense {
                id: new_id,
                status: Status::Created,
                created_by: key.clone(),
                paid_by: None,
                task_token: None,
                told: false,
            });
            // A repetition of the same request is not an error.
            match known.created_by == key {
                true => Ok(SUCCEED.to_owned()),
                false => Err(ID_ALREADY_EXISTS),
            }
        });
        change.await.map_err(unavailable)?
    };
    answer(created.await)
}

#[derive(Deserialize)]
struct Callback {
    task_token: String,
    #[serde(default)]
    signature: String,
}

/// `POST /registerCallback?id=…` with the form field `task_token`
pub async fn register_callback(
    State(service): State<Arc<Service>>,
    Query(request): Query<super::Request>,
    body: String,
) -> Answer {
    let registered = async {
        let id = request.id;
        let Callback {
            task_token,
            signature,
        } = form(&body)?;
        // Before anything else: Temporal would accept any token that a stranger has guessed.
        service.verify(&["registerCallback", &id, &task_token], &signature)?;
        let activity = service.activity(&task_token)?;
        // This fails if the attempt has ended, so a late request never replaces the token of a newer attempt. The Web
        // UI and the starter find the links in the heartbeat details.
        let links = DecisionLinks::new(&service, &id);
        let heartbeat = activity.heartbeat(Some(links), Default::default());
        heartbeat.await.map_err(not_completed)?;
        let change = service.expenses.change(&id, |expense| {
            let expense = expense.as_mut().ok_or(INVALID_ID)?;
            expense.task_token = Some(task_token);
            expense.told = false;
            Ok(())
        });
        change.await.map_err(unavailable)??;
        // It may have been decided by now.
        tell(&service, &id).await?;
        Ok(SUCCEED.to_owned())
    };
    answer(registered.await)
}

/// `GET /action?type=approve|reject|payment&id=…`
pub async fn action(
    State(service): State<Arc<Service>>,
    Query(request): Query<super::Request>,
) -> Answer {
    let is_api_call = request.is_api_call;
    let done = async {
        let super::Request {
            id, key, signature, ..
        } = &request;
        let (id, key) = (id.clone(), key.clone());
        let decision = match request.action.as_str() {
            "payment" => {
                service.verify(&["payment", &id, &key], signature)?;
                return pay(&service, &id, key).await;
            }
            "approve" => Status::Approved,
            "reject" => Status::Rejected,
            _ => return Err(INVALID_TYPE),
        };
        service.verify(&[&request.action, &id], signature)?;
        decide(&service, &id, decision).await
    };
    answer(done.await.map(|status| match is_api_call {
        true => SUCCEED.to_owned(),
        false => format!("Expense {} is {}.", request.id, status.name()),
    }))
}

async fn decide(service: &Arc<Service>, id: &str, decision: Status) -> Result<Status, Refused> {
    let change = service.expenses.change(id, move |expense| {
        let expense = expense.as_mut().ok_or(INVALID_ID)?;
        match expense.status {
            Status::Created => expense.status = decision,
            // A second click.
            same if same == decision => {}
            _ => return Err(INVALID_STATE),
        }
        Ok(decision)
    });
    // Stored first: if this process dies now, the next one completes the activity.
    let decision = change.await.map_err(unavailable)??;
    match tell(service, id).await {
        Err(refused) if refused == UNAVAILABLE => {
            tokio::spawn(keep_telling(service.clone(), id.to_owned()));
            Ok(decision)
        }
        told => told.map(|()| decision),
    }
}

async fn pay(service: &Service, id: &str, key: String) -> Result<Status, Refused> {
    let change = service.expenses.change(id, move |expense| {
        let expense = expense.as_mut().ok_or(INVALID_ID)?;
        match (expense.status, &expense.paid_by) {
            (Status::Approved, _) => {
                expense.status = Status::Completed;
                expense.paid_by = Some(key);
            }
            // A repetition of the same request pays nothing more.
            (Status::Completed, Some(paid_by)) if *paid_by == key => {}
            _ => return Err(INVALID_STATE),
        }
        Ok(Status::Completed)
    });
    change.await.map_err(unavailable)?
}

/// Completes the activity that waits, if there is one and the expense is decided.
async fn tell(service: &Service, id: &str) -> Result<(), Refused> {
    // A decision and the registration of a token can arrive at the same time, and both end here. Without the lock,
    // the second one would find no activity that waits, although its decision counts.
    let _one_at_a_time = service.telling.lock().await;
    let change = service.expenses.change(id, |expense| expense.clone());
    let Some(expense) = change.await.map_err(unavailable)? else {
        return Err(INVALID_ID);
    };
    let Some(token) = expense.task_token else {
        return Ok(());
    };
    if expense.told || expense.status == Status::Created {
        return Ok(());
    }
    let status = expense.status.name().to_owned();
    let activity = service.activity(&token)?;
    let complete = activity.complete(Some(status), Default::default());
    complete.await.map_err(not_completed)?;
    let change = service.expenses.change(id, move |expense| {
        if let Some(expense) = expense
            && expense.task_token.as_ref() == Some(&token)
        {
            expense.told = true;
        }
    });
    change.await.map_err(unavailable)
}

async fn keep_telling(service: Arc<Service>, id: String) {
    while let Err(refused) = tell(&service, &id).await
        && refused == UNAVAILABLE
    {
        sleep(AGAIN).await;
    }
}

/// Completes the activities that a previous process could not complete.
pub async fn resume(service: &Arc<Service>) -> anyhow::Result<()> {
    for expense in service.expenses.all().await? {
        if !expense.told && expense.status != Status::Created {
            tokio::spawn(keep_telling(service.clone(), expense.id));
        }
    }
    Ok(())
}

/// `GET /status?id=…`
pub async fn status(
    State(service): State<Arc<Service>>,
    Query(request): Query<super::Request>,
) -> Answer {
    let change = service.expenses.change(&request.id, |expense| {
        let expense = expense.as_ref().ok_or(INVALID_ID)?;
        Ok(expense.status.name().to_owned())
    });
    answer(change.await.map_err(unavailable).flatten())
}

/// `GET /list`: a line for each expense.
pub async fn list(State(service): State<Arc<Service>>) -> Answer {
    let all = service.expenses.all().await.map_err(unavailable);
    answer(all.map(|mut all| {
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.iter().fold(String::new(), |mut list, expense| {
            let _ = writeln!(list, "{} {}", expense.id, expense.status.name());
            list
        })
    }))
}
