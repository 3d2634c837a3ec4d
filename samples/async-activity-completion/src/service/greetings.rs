//! Composes greetings: work that takes some seconds, with a heartbeat each second.

use super::{AGAIN, Answer, Refused, Service, UNAVAILABLE, answer, not_completed, unavailable};
use crate::greeting::START_TO_CLOSE;
use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::sleep;

/// A greeting to compose, and the activity that waits for it.
#[derive(Clone, Deserialize, Serialize)]
pub struct Greeting {
    greeting: String,
    name: String,
    task_token: String,
    signature: String,
    #[serde(default = "SystemTime::now")]
    arrived: SystemTime,
}

/// Accepts a greeting to compose.
pub async fn compose(State(service): State<Arc<Service>>, body: String) -> Answer {
    answer(accept(service, &body).await)
}

async fn accept(service: Arc<Service>, body: &str) -> Result<String, Refused> {
    let mut greeting: Greeting =
        serde_json::from_str(body).map_err(|_| (StatusCode::BAD_REQUEST, "ERROR:INVALID_BODY"))?;
    greeting.arrived = SystemTime::now();
    let Greeting {
        greeting: word,
        name,
        task_token,
        signature,
        ..
    } = &greeting;
    service.verify(&["greetings", word, name, task_token], signature)?;
    let stored = greeting.clone();
    let change = service
        .greetings
        .change(&greeting.task_token, |record| *record = Some(stored));
    change.await.map_err(unavailable)?;
    tokio::spawn(work(service, greeting));
    Ok("SUCCEED".to_owned())
}

/// Goes on with the greetings that a previous process has accepted.
pub async fn resume(service: &Arc<Service>) -> anyhow::Result<()> {
    for greeting in service.greetings.all().await? {
        match is_late(&greeting) {
            true => forget(service, &greeting).await,
            false => drop(tokio::spawn(work(service.clone(), greeting))),
        }
    }
    Ok(())
}

/// Returns whether the attempt that waits for the greeting must have ended.
fn is_late(greeting: &Greeting) -> bool {
    let age = greeting.arrived.elapsed();
    age.is_ok_and(|age| age > START_TO_CLOSE)
}

async fn work(service: Arc<Service>, greeting: Greeting) {
    let ended = loop {
        match attempt(&service, &greeting).await {
            Ok(ended) => break ended,
            Err(UNAVAILABLE) if !is_late(&greeting) => sleep(AGAIN).await,
            Err((_, why)) => break why,
        }
    };
    tracing::info!(ended, "greeting");
    forget(&service, &greeting).await;
}

async fn attempt(service: &Service, greeting: &Greeting) -> Result<&'static str, Refused> {
    let activity = service.activity(&greeting.task_token)?;
    let result = async {
        for step in 1..=service.work_seconds {
            let heartbeat = activity.heartbeat(Some(step), Default::default()).await?;
            if heartbeat.cancel_requested {
                let details = Some("the service has stopped");
                activity
                    .report_cancelation(details.map(str::to_owned), Default::default())
                    .await?;
                return Ok("cancelled");
            }
            sleep(Duration::from_secs(1)).await;
        }
        let result = format!("{}, {}!", greeting.greeting, greeting.name);
        activity.complete(Some(result), Default::default()).await?;
        Ok("completed")
    };
    result.await.map_err(not_completed)
}

async fn forget(service: &Service, greeting: &Greeting) {
    let change = service
        .greetings
        .change(&greeting.task_token, |record| *record = None);
    // It would be worked on again after a restart, to no effect.
    let _ = change.await.map_err(unavailable);
}
