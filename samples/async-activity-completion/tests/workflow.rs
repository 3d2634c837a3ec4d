//! Runs the workflows on a real server, with the `worker_options` of the worker binary. The service is another process.

use crate::service::{Service, links, open};
use async_activity_completion::{
    greeting::GreetingWorkflow,
    webhooks::{DelayedCallbackWorkflow, OrderWorkflow, PaymentPayload},
    worker_options,
    workflows::SampleExpenseWorkflow,
};
use axum::{Router, http::StatusCode as Status, routing::post};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::describe;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};
use temporalio_client::{
    ActivityIdentifier, Client, UntypedSignal, UntypedWorkflow, WorkflowHandle,
    errors::{AsyncActivityError, WorkflowGetResultError},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType, history::v1::history_event::Attributes,
};
use testing::{TestEnv, bad_input, event_types, events, raw_json, until, until_pending};
use tokio::net::TcpListener;

const CANCELED: &str = "CANCELED";

/// Runs `body` beside a worker and the service.
async fn with_service(
    body: impl AsyncFnOnce(&TestEnv, &Service) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let service = Service::start(&[]).await?;
    let client = service.client()?;
    let hosts = vec!["127.0.0.1".to_owned()];
    env.work(
        |queue| worker_options(queue, client, hosts),
        body(&env, &service),
    )
    .await
}

/// Starts an expense whose id is that of the workflow.
async fn start_expense(
    env: &TestEnv,
) -> anyhow::Result<WorkflowHandle<Client, SampleExpenseWorkflow>> {
    let id = env.start_options().workflow_id;
    let argument = json!(id);
    env.start_json_as(id, "SampleExpenseWorkflow", &[argument])
        .await
}

/// Returns the result, or why there is none.
async fn end(handle: &WorkflowHandle<Client, UntypedWorkflow>) -> Result<Value, String> {
    match handle.get_result(Default::default()).await {
        Ok(result) => Ok(result
            .payloads
            .first()
            .and_then(|payload| serde_json::from_slice(&payload.data).ok())
            .unwrap_or_default()),
        Err(WorkflowGetResultError::Cancelled { .. }) => Err(CANCELED.to_owned()),
        Err(error) => Err(describe(&error)),
    }
}

/// An approved expense is paid, a rejected one is not. Another process than the worker completes the activity. The
/// same decision may be repeated, and the other one comes too late.
#[tokio::test]
async fn a_person_decides() -> anyhow::Result<()> {
    with_service(async |env, service| {
        let cases = [
            ("APPROVED", "COMPLETED", "COMPLETED"),
            ("REJECTED", "", "REJECTED"),
        ];
        for (decision, result, in_the_end) in cases {
            let handle = start_expense(env).await?;
            let id = &handle.info().workflow_id;
            let links = links(service, &handle).await?;
            let status = service.get("/status", &[("id", id)]).await?;
            assert_eq!(status, (StatusCode::OK, "CREATED".to_owned()));
            let (link, other) = match decision {
                "APPROVED" => (links.approve, links.reject),
                _ => (links.reject, links.approve),
            };
            let decided = open(&link).await?;
            assert_eq!(decided.1, format!("Expense {id} is {decision}."));
            let again = open(&format!("{other}&is_api_call=true")).await?;
            let too_late = (StatusCode::CONFLICT, "ERROR:INVALID_STATE".to_owned());
            assert_eq!(again, too_late);
            assert_eq!(handle.get_result(Default::default()).await?, result);
            let list = service.get("/list", &[]).await?.1;
            assert!(list.contains(&format!("{id} {in_the_end}\n")), "{list}");
            if decision == "REJECTED" {
                let again = open(&format!("{link}&is_api_call=true")).await?;
                assert_eq!(again, (StatusCode::OK, "SUCCEED".to_owned()));
            }

            let (mut started, mut completed) = (vec![], vec![]);
            for event in events(&handle).await? {
                match event.attributes {
                    Some(Attributes::ActivityTaskStartedEventAttributes(event)) => {
                        started.push(event.identity);
                    }
                    Some(Attributes::ActivityTaskCompletedEventAttributes(event)) => {
                        completed.push(event.identity);
                    }
                    _ => {}
                }
            }
            assert_eq!(started[0], completed[0]);
            assert_ne!(started[1], completed[1]);
        }
        Ok(())
    })
    .await
}

/// Without the key, nobody can decide, register a token, create or pay an expense, or order a greeting; not even who
/// knows the token or the link for the other decision. The expense still waits.
#[tokio::test]
async fn strangers_can_do_nothing() -> anyhow::Result<()> {
    with_service(async |env, service| {
        let handle = start_expense(env).await?;
        let id = handle.info().workflow_id.as_str();
        let links = links(service, &handle).await?;
        let refused = (StatusCode::FORBIDDEN, "ERROR:NOT_SIGNED".to_owned());
        let url = service.url.as_str();
        // The signature of one decision is not that of the other, nor that of another expense.
        let swapped = links.reject.replace("type=reject", "type=approve");
        assert_ne!(swapped, links.approve);
        let other = links.approve.replace("&id=", "&id=other-");
        let payment = links.approve.replace("type=approve", "type=payment");
        for link in [
            format!("{url}action?type=approve&id={id}"),
            format!("{url}action?type=payment&id={id}&key=1"),
            format!("{url}create?id=new&key=1"),
            swapped,
            other,
            payment,
        ] {
            assert_eq!(open(&link).await?, refused, "{link}");
        }

        let record: Value = serde_json::from_slice(&std::fs::read(service.record("expenses")?)?)?;
        let token = record["task_token"].as_str().unwrap_or_default();
        let client = http_client::http_client(&service.url, std::time::Duration::from_secs(5))?;
        let key = service.key()?;
        let post = async |path: &str, body: String| {
            let request = client.post(service.url.join(path)?).body(body);
            let response = request.send().await?;
            anyhow::Ok((response.status(), response.text().await?))
        };
        let register = format!("registerCallback?id={id}");
        for form in [
            format!("task_token={token}"),
            format!(
                "task_token={token}&signature={}",
                key.sign(&["approve", id])
            ),
            format!(
                "task_token={token}&signature={}",
                key.sign(&["registerCallback", "other", token])
            ),
        ] {
            assert_eq!(post(&register, form).await?, refused);
        }
        let greeting = json!({"greeting": "Hi", "name": "x", "task_token": token, "signature": ""});
        let answer = post("greetings", greeting.to_string()).await?;
        assert_eq!(answer, refused);

        // Requests that make no sense.
        let bad = post(&register, "token=1".to_owned()).await?;
        assert_eq!(bad.1, "ERROR:INVALID_FORM_DATA");
        assert_eq!(
            post("greetings", "{}".to_owned()).await?.1,
            "ERROR:INVALID_BODY"
        );
        let nothing = service
            .get("/action", &[("type", "eat"), ("id", id)])
            .await?;
        assert_eq!(nothing.1, "ERROR:INVALID_TYPE");
        let unknown = service.get("/status", &[("id", "unknown")]).await?;
        assert_eq!(
            unknown,
            (StatusCode::NOT_FOUND, "ERROR:INVALID_ID".to_owned())
        );
        // Signed, but no task token; and signed, for an expense that does not exist.
        let no_token = BASE64_URL_SAFE_NO_PAD.encode("none");
        for (token, why) in [(no_token.as_str(), "NOBODY_WAITS"), (token, "INVALID_ID")] {
            let signature = key.sign(&["registerCallback", "unknown", token]);
            let form = format!("task_token={token}&signature={signature}");
            let answer = post("registerCallback?id=unknown", form).await?;
            assert_eq!(answer.1, format!("ERROR:{why}"));
        }

        until_pending(&handle, |activity| activity.heartbeat_details.is_some()).await?;
        assert_eq!(open(&links.reject).await?.0, StatusCode::OK);
        assert_eq!(handle.get_result(Default::default()).await?, "");
        Ok(())
    })
    .await
}

/// An expense that is taken, a decision that the service does not know, and a decision that is none each fail the
/// workflow at once. A completion with nothing does not hang it.
#[tokio::test]
async fn fails() -> anyhow::Result<()> {
    with_service(async |env, service| {
        let first = start_expense(env).await?;
        let id = &first.info().workflow_id;
        links(service, &first).await?;
        let second = env.start_json("SampleExpenseWorkflow", &[json!(id)]).await?;
        let error = end(&second).await.unwrap_err();
        assert!(error.contains("answered 409 Conflict: ERROR:ID_ALREADY_EXISTS (ServiceRefused)"), "{error}");

        // An operator completes the activity, without the service.
        let complete = async |handle: &WorkflowHandle<Client, SampleExpenseWorkflow>, value: Option<Value>| {
            let id = ActivityIdentifier::by_id_workflow(&handle.info().workflow_id, "", "2");
            let activity = env.client.get_async_activity_handle(id);
            activity.complete(value, Default::default()).await?;
            let ended = handle.get_result(Default::default()).await;
            anyhow::Ok(describe(&ended.unwrap_err()))
        };
        let error = complete(&first, Some(json!("APPROVED"))).await?;
        assert!(error.starts_with("workflow failed: activity PaymentActivity failed: http"), "{error}");
        assert!(error.ends_with("ERROR:INVALID_STATE (ServiceRefused)"), "{error}");
        for value in [None, Some(json!(null)), Some(json!(7)), Some(json!("MAYBE"))] {
            let handle = start_expense(env).await?;
            links(service, &handle).await?;
            let error = complete(&handle, value).await?;
            let expected = "workflow failed: the decision is neither \"APPROVED\" nor \"REJECTED\" (UnknownDecision)";
            assert_eq!(error, expected);
        }
        Ok(())
    })
    .await
}

/// A cancelled expense stops waiting at once, and a decision then comes too late. A cancelled greeting waits until
/// the service, which learns about the cancellation from its heartbeat, has stopped.
#[tokio::test]
async fn cancelled_while_it_waits() -> anyhow::Result<()> {
    with_service(async |env, service| {
        let greeting = env
            .client
            .start_workflow(GreetingWorkflow::run, "World".into(), env.start_options())
            .await?;
        until_pending(&greeting, |activity| activity.heartbeat_details.is_some()).await?;
        greeting.cancel(Default::default()).await?;

        let expense = start_expense(env).await?;
        let links = links(service, &expense).await?;
        expense.cancel(Default::default()).await?;
        let ended = expense.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        let too_late = (StatusCode::CONFLICT, "ERROR:NOBODY_WAITS".to_owned());
        assert_eq!(open(&links.approve).await?, too_late);

        let ended = greeting.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        let events = event_types(&greeting).await?;
        assert!(
            events.contains(&EventType::ActivityTaskCanceled),
            "{events:?}"
        );
        Ok(())
    })
    .await
}

/// Workflows that are cancelled before a worker has seen them end CANCELED.
#[tokio::test]
async fn cancelled_before_a_worker_runs() -> anyhow::Result<()> {
    let env = TestEnv::new().await?;
    let mut handles = vec![];
    for (workflow, input) in inputs() {
        let handle = env
            .start_json::<UntypedWorkflow>(workflow, &[input])
            .await?;
        handle.cancel(Default::default()).await?;
        handles.push(handle);
    }
    let service = Service::start(&[]).await?;
    let client = service.client()?;
    env.work(|queue| worker_options(queue, client, vec![]), async {
        for handle in &handles {
            assert_eq!(end(handle).await, Err(CANCELED.to_owned()));
        }
        assert_eq!(service.get("/list", &[]).await?.1, "");
        Ok(())
    })
    .await
}

/// Good input for each workflow.
fn inputs() -> [(&'static str, Value); 4] {
    let callback = json!({"callback_url": "http://localhost/", "payload": "", "delay_seconds": 60});
    [
        ("SampleExpenseWorkflow", json!("expense-1")),
        ("GreetingWorkflow", json!("World")),
        ("OrderWorkflow", json!({"order_id": "1", "amount": 1})),
        ("DelayedCallbackWorkflow", callback),
    ]
}

/// The task token of an attempt is void when the attempt is completed.
#[tokio::test]
async fn a_token_is_used_once() -> anyhow::Result<()> {
    with_service(async |env, service| {
        let handle = start_expense(env).await?;
        let links = links(service, &handle).await?;
        open(&links.reject).await?;
        assert_eq!(handle.get_result(Default::default()).await?, "");
        let record: Value = serde_json::from_slice(&std::fs::read(service.record("expenses")?)?)?;
        let token = record["task_token"].as_str().unwrap_or_default();
        let token = BASE64_URL_SAFE_NO_PAD.decode(token)?;
        let activity = env
            .client
            .get_async_activity_handle(ActivityIdentifier::from_task_token(token.into()));
        let again = activity.complete(Some("APPROVED".to_owned()), Default::default());
        assert!(matches!(again.await, Err(AsyncActivityError::NotFound(_))));
        Ok(())
    })
    .await
}

/// The webhook of a payment arrives with the start, before `run`. It may arrive again, or be nonsense.
#[tokio::test]
async fn an_order_is_paid() -> anyhow::Result<()> {
    with_service(async |env, _| {
        let payment = |id: &str| json!({"payment_id": id, "amount": 99.99});
        let order = json!({"order_id": "1", "amount": 99.99});
        let handle = env
            .start_json::<OrderWorkflow>("OrderWorkflow", &[order])
            .await?;
        for bad in [vec![], vec![json!("pay-1")], vec![json!({"payment_id": 1})]] {
            let signal = UntypedSignal::new("payment_received");
            handle
                .signal(signal, raw_json(&bad), Default::default())
                .await?;
        }
        for id in ["pay-1", "pay-2"] {
            let signal = UntypedSignal::new("payment_received");
            let payment = raw_json(&[payment(id)]);
            // The workflow may have ended before the second one.
            let _ = handle.signal(signal, payment, Default::default()).await;
        }
        let paid = "Payment pay-1 processed successfully for $99.99";
        assert_eq!(handle.get_result(Default::default()).await?, paid);

        let options = env.start_options();
        let workflow_id = options.workflow_id.clone();
        let order = serde_json::from_value::<async_activity_completion::webhooks::OrderInput>(
            json!({"order_id": "2", "amount": 5}),
        )?;
        let payment: PaymentPayload = serde_json::from_value(payment("pay-3"))?;
        env.client
            .signal_with_start_workflow(
                OrderWorkflow::run,
                order.into(),
                OrderWorkflow::payment_received,
                payment.into(),
                options,
            )
            .await?;
        let handle = env.client.get_workflow_handle::<OrderWorkflow>(workflow_id);
        let paid = "Payment pay-3 processed successfully for $99.99";
        assert_eq!(handle.get_result(Default::default()).await?, paid);

        let waits = env
            .start_json::<OrderWorkflow>("OrderWorkflow", &[json!({"order_id": "3", "amount": 5})])
            .await?;
        until(&waits, EventType::TimerStarted).await?;
        waits.cancel(Default::default()).await?;
        let ended = waits.get_result(Default::default()).await;
        assert!(
            matches!(ended, Err(WorkflowGetResultError::Cancelled { .. })),
            "{ended:?}"
        );
        Ok(())
    })
    .await
}

/// A callback is sent to an allowed host, and again if the host answers 5xx, with the same key. A 4xx fails the
/// workflow. To another host nothing is sent.
#[tokio::test]
async fn a_callback_is_sent() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let hook = format!("http://{}/hook", listener.local_addr()?);
    let seen = Arc::new(std::sync::Mutex::new(vec![]));
    let (requests, bodies) = (AtomicU32::new(0), seen.clone());
    let requests = Arc::new(requests);
    let receive = async move |headers: axum::http::HeaderMap, body: String| {
        let key = headers.get("idempotency-key").cloned();
        if let Ok(mut bodies) = bodies.lock() {
            bodies.push((key, body));
        }
        match requests.fetch_add(1, SeqCst) {
            0 => Status::SERVICE_UNAVAILABLE,
            1 => Status::OK,
            _ => Status::BAD_REQUEST,
        }
    };
    let routes = Router::new().route("/hook", post(receive));
    let server = tokio::spawn(axum::serve(listener, routes).into_future());
    with_service(async |env, _| {
        let send = async |url: &str| {
            let input = json!({"callback_url": url, "payload": "done", "delay_seconds": 0});
            let start = env.start_json("DelayedCallbackWorkflow", &[input]).await?;
            anyhow::Ok(end(&start).await)
        };
        let delivered = format!("Callback to {hook} delivered");
        assert_eq!(send(&hook).await?, Ok(delivered.into()));
        {
            let seen = seen.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            assert_eq!(seen.len(), 2);
            assert!(seen[0].0.is_some() && seen[0] == seen[1] && seen[0].1 == "done");
        }
        let refused = format!("workflow failed: activity send_webhook_callback failed: {hook} answered 400 Bad Request (CallbackRefused)");
        assert_eq!(send(&hook).await?, Err(refused));
        let elsewhere = "https://example.com/hook";
        let stubbed = format!("Callback to {elsewhere} delivered (stubbed)");
        assert_eq!(send(elsewhere).await?, Ok(stubbed.into()));
        Ok(())
    })
    .await?;
    server.abort();
    Ok(())
}

/// Bad input fails each workflow at once, and the failure names the field.
#[tokio::test]
async fn refuses_bad_input() -> anyhow::Result<()> {
    with_service(async |env, _| {
        let callback = |url: &str, delay: Value| json!({"callback_url": url, "payload": "", "delay_seconds": delay});
        let cases = [
            ("SampleExpenseWorkflow", vec![], "the argument is missing"),
            ("SampleExpenseWorkflow", vec![json!("")], "the expense id is empty"),
            ("SampleExpenseWorkflow", vec![json!("x".repeat(201))], "the expense id has 201 bytes, more than the limit of 200"),
            ("SampleExpenseWorkflow", vec![json!(1)], "invalid type: integer `1`, expected a string"),
            ("GreetingWorkflow", vec![json!(["World"])], "invalid type: sequence, expected a string"),
            ("OrderWorkflow", vec![json!({"order_id": "1"})], "missing field `amount`"),
            ("DelayedCallbackWorkflow", vec![callback("nowhere", json!(1))], "`callback_url`: not a URL: relative URL without a base"),
            ("DelayedCallbackWorkflow", vec![callback("file:///etc/passwd", json!(1))], "`callback_url`: the URL must begin with http:// or https://"),
            ("DelayedCallbackWorkflow", vec![callback("http://localhost", json!(-1))], "`delay_seconds`: invalid value: integer `-1`, expected u32"),
        ];
        for (workflow, arguments, reason) in cases {
            let handle = env.start_json::<DelayedCallbackWorkflow>(workflow, &arguments).await?;
            assert_eq!(bad_input(&handle).await?, reason);
        }
        Ok(())
    })
    .await
}
