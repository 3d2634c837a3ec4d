//! The search attribute by which operators find transfers.

use anyhow::Context;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use temporalio_client::{
    Client, NamespacedClient,
    errors::ClientError,
    grpc::OperatorService,
    tonic::{Code, IntoRequest, Status},
};
use temporalio_common::{
    protos::temporal::api::{
        enums::v1::IndexedValueType, operatorservice::v1::AddSearchAttributesRequest,
    },
    search_attributes::SearchAttributeKey,
};

/// The status of a transfer.
pub const TRANSFER_STATUS: SearchAttributeKey<String> =
    SearchAttributeKey::keyword("TransferStatus");

/// Longest time until the server knows a new search attribute.
const LIMIT: Duration = Duration::from_secs(30);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Adds the search attribute to the namespace, unless it has one, and waits until the server knows it.
///
/// The worker does this before it runs workflows. If a workflow sets a search attribute that the server does not
/// know, its workflow task fails, and the server retries it until somebody adds the attribute.
///
/// # Errors
/// If the server does not permit it, or if the attribute already has another type.
pub async fn register(client: &Client) -> anyhow::Result<()> {
    // First, because a client may be allowed to use the attribute and not to add it, as on Temporal Cloud.
    if query(client).await.is_ok() {
        return Ok(());
    }
    let name = TRANSFER_STATUS.name();
    add(client).await.with_context(|| {
        format!(
            "cannot add the search attribute {name}; add it yourself: \
             temporal operator search-attribute create --name {name} --type Keyword"
        )
    })?;
    let begin = Instant::now();
    while let Err(error) = query(client).await {
        if begin.elapsed() > LIMIT {
            let reason = format!("the server cannot use the search attribute {name} as a keyword");
            return Err(error).context(reason);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn add(client: &Client) -> Result<(), Status> {
    let keyword = IndexedValueType::Keyword.into();
    let request = AddSearchAttributesRequest {
        search_attributes: HashMap::from([(TRANSFER_STATUS.name().to_owned(), keyword)]),
        namespace: client.namespace(),
    };
    let mut client = client.clone();
    match client.add_search_attributes(request.into_request()).await {
        // Another worker may have been faster.
        Err(status) if status.code() != Code::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

/// Makes a query with the search attribute. The server refuses it if it does not know the attribute.
async fn query(client: &Client) -> Result<(), ClientError> {
    let query = format!("{} = 'PENDING'", TRANSFER_STATUS.name());
    client.count_workflows(query, Default::default()).await?;
    Ok(())
}
